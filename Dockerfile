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
RUN mkdir /data && chown node:node /data
USER node
VOLUME /data
EXPOSE 1883 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8080/healthz').then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "dist/src/cli.js"]
CMD ["start"]
