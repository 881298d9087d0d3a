# Images are named by digest, so that a build is the same tomorrow. A newer one: docker buildx imagetools inspect node:24-bookworm-slim
FROM node:24.18.1-bookworm-slim@sha256:235600a8101ab264e117b1768e925532262668dc9b581ef1dd7d96ced463b8e7 AS build
WORKDIR /telehub
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json ./
COPY src ./src
COPY devices ./devices
RUN node src/setup.mjs build && npm prune --omit=dev

FROM node:24.18.1-bookworm-slim@sha256:235600a8101ab264e117b1768e925532262668dc9b581ef1dd7d96ced463b8e7
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
# Asks with the settings of the hub: those of the environment and of telehub.yaml, not the flags of its command line.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["node", "dist/bundle/cli.js", "healthcheck"]
ENTRYPOINT ["node", "--disable-sigusr1", "dist/bundle/cli.js"]
CMD ["start"]
