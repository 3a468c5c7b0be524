# One image for every process: `manage.py up` runs all of them; a command of your own runs one.
FROM python:3.12-slim-bookworm AS build
WORKDIR /app
COPY requirements/product.txt requirements/product.txt
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/product.txt
COPY . .
RUN COUNTERSIGN_TESTING=1 DATA_DIR=/tmp/build STATIC_ROOT=/app/staticfiles /venv/bin/python manage.py collectstatic --noinput \
    && rm -rf tests examples bench docs .ci /tmp/build \
    && /venv/bin/python -m compileall -q authserver web runtime ciba credentials devices oauth clients operations accounts audit foundation

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /data countersign && chmod 700 /data
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
USER countersign
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DATA_DIR=/data STATIC_ROOT=/app/staticfiles PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/readyz', timeout=4)"]
CMD ["python", "manage.py", "up"]
