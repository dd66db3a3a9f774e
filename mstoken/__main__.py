"""`python -m mstoken`: the same as the command `mstoken`, for an environment without the script."""

from mstoken.cli import main

if __name__ == "__main__":
    main()
