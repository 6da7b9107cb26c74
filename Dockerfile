# One image for every command: `docker run neighborwatch bridge run`, `… app serve`, `… bridge prove`.
# With `--build-arg EXTRAS=` it has only what serves and streams, without training, pictures and demo, and is 400 MB smaller.

FROM python:3.11-slim AS build
ARG EXTRAS=demo,otel
WORKDIR /build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# The libraries first: they change seldom, and their layer is kept when only the code has changed. Wheels only, because
# this image has no compiler, nor should it need one.
COPY pyproject.toml constraints.txt LICENSE ./
COPY app/__init__.py app/__init__.py
RUN pip install --quiet --only-binary :all: --constraint constraints.txt ".${EXTRAS:+[$EXTRAS]}"
COPY app app
COPY bridge bridge
RUN pip install --quiet --no-deps --force-reinstall . && pip uninstall --quiet --yes pip setuptools

FROM python:3.11-slim
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv/neighborwatch
COPY model_artifacts/default model_artifacts/default
COPY data data
# Listening on every address is right here: who reaches a container is decided where its ports are published. Nothing is
# written but below /tmp, so that the root file system can be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    APP_HOST=0.0.0.0 \
    BRIDGE_HTTP_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8000 8001 8002
# Of the bridge; whoever runs another command sets another check, or none.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8001/health/ready', timeout=4)"]
ENTRYPOINT ["python", "-m"]
CMD ["bridge", "run"]
