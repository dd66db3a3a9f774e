# The Firebase emulators, the signed Auth emulator and the metadata emulators, for deploy/compose.yaml only: nothing here
# belongs in production. It sets up the checkout as `make setup` does on a laptop.
ARG PYTHON_IMAGE
ARG NODE_IMAGE

FROM ${NODE_IMAGE} AS node

FROM ${PYTHON_IMAGE}
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
    && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx \
    && useradd --uid 10001 --create-home emulators && mkdir /shop && chown emulators: /shop
WORKDIR /shop
USER 10001:10001
COPY --chown=10001:10001 . ./
RUN python emulator/run/bootstrap.py
ENTRYPOINT [".venv/bin/mstoken", "emulator", "--project", "demo-shop", \
    "--service", "user=9101", "--service", "product=9102", "--service", "billing=9103", "--service", "delivery=9104", \
    "--", "npx", "firebase", "emulators:start", "--only", "auth,functions,tasks", "--project", "demo-shop", \
    "--import", "emulator/run/seed"]
