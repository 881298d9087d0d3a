FROM node:22-bookworm-slim AS build
WORKDIR /telehub
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json ./
COPY src ./src
COPY devices ./devices
RUN node src/setup.mjs build && npm prune --omit=dev

FROM node:22-bookworm-slim
WORKDIR /telehub
# Reachable from outside the container; so the hub starts only with TELEHUB_AUTH_ANONYMOUS=true or users of its own.
ENV NODE_ENV=production TELEHUB_HOST=0.0.0.0 TELEHUB_DATA_DIR=/data
COPY --from=build /telehub/node_modules ./node_modules
COPY --from=build /telehub/dist ./dist
COPY package.json LICENSE ./
RUN mkdir -m 700 /data && chown node:node /data
USER node
VOLUME /data
# 8883 is MQTT over TLS, once TELEHUB_TLS_CERT, TELEHUB_TLS_KEY and TELEHUB_MQTTS_PORT (8883) are set: docker run -p 8883:8883.
EXPOSE 1883 8080 8883
STOPSIGNAL SIGTERM
# With tls.cert it is https, and the certificate is that of another name.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
  CMD ["node", "-e", "const ask = (by, options) => new Promise(done => require(by).get({ host: '127.0.0.1', port: 8080, path: '/healthz', ...options }, answer => done(answer.statusCode === 200)).on('error', () => done(false))); ask('http').then(ok => ok || ask('https', { rejectUnauthorized: false })).then(ok => process.exit(ok ? 0 : 1))"]
ENTRYPOINT ["node", "--disable-sigusr1", "dist/src/cli.js"]
CMD ["start"]
