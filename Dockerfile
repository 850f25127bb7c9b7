# Kindrail: the locked wheels and the project in a virtual environment, run by a user without rights.
FROM python:3.11-slim AS build
ENV PATH=/opt/kindrail/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/kindrail
WORKDIR /src
COPY requirements.txt ./
# Wheels alone: nothing is compiled here, so there is no compiler to take out again.
RUN pip install --require-hashes --only-binary :all: -r requirements.txt
COPY pyproject.toml README.md ./
COPY policies policies
COPY rails rails
COPY proxy proxy
# setuptools, which builds it, is one of the locked packages. pip has no work after this.
RUN pip install --no-deps --no-build-isolation . && pip uninstall -y pip

FROM python:3.11-slim
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin kindrail \
    && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/kindrail /opt/kindrail
ENV PATH=/opt/kindrail/bin:$PATH PYTHONUNBUFFERED=1 KINDRAIL_DATA=/data
USER 10001:10001
EXPOSE 8080
# Not urllib: it would go through a proxy that the environment names.
HEALTHCHECK --interval=5s --timeout=3s --start-period=120s --retries=6 CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=2); c.request('GET', '/healthz'); exit(c.getresponse().status != 200)"]
ENTRYPOINT ["kindrail"]
CMD ["serve"]
