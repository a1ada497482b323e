# One image for every role: everything by ASGI (the default command), REST by WSGI, workers, migrations.
FROM python:3.13-slim AS build
RUN python -m venv /venv
COPY requirements.txt /
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check -r /requirements.txt

FROM python:3.13-slim
ENV PATH="/venv/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    VAR_DIR=/data
# /data keeps the secret key and the cache; a volume that is mounted there inherits its owner.
RUN useradd --system --uid 10001 --no-create-home jobqueue \
    && install --directory --owner=jobqueue /data
WORKDIR /app
COPY --from=build /venv /venv
COPY . .
RUN VAR_DIR=/tmp/build python manage.py collectstatic --noinput --verbosity 0 \
    && rm -r /tmp/build
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "deploy/healthcheck.py"]
CMD ["daphne", "--bind", "0.0.0.0", "--port", "8000", "--verbosity", "0", "--no-server-name", \
     "jobqueue_project.asgi:application"]
