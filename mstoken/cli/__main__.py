"""`python -m mstoken.cli`: the command line where there is no script."""

from mstoken.cli import main

if __name__ == "__main__":
    main()
