FROM node:24-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The optional package is a pinned Node, but this image has its own.
RUN npm ci --omit=dev --omit=optional

FROM node:24-slim
ENV ENVIRONMENT=production \
    HOST=0.0.0.0 \
    DATABASE_URL=sqlite:////data/tasks.db
WORKDIR /app
RUN install -d -o node -g node /data
COPY package.json LICENSE ./
COPY --from=dependencies /app/node_modules node_modules
COPY src src
USER node
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 8000}/health`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# Node runs as process 1, so that SIGTERM reaches the service. To migrate by command, run node src/adapters/cli/migrate.ts.
CMD ["node", "src/main.ts"]
