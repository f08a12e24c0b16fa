# Serves a model folder: docker build -f docker/serve.Dockerfile --build-arg MODEL=runs/RUN/model -t letters .
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 MLFLOW_DISABLE_TELEMETRY=true
WORKDIR /asl_exp
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN pip install --require-hashes -r requirements.lock
COPY asl_exp asl_exp
COPY conf conf
COPY sweeps sweeps
COPY hydra_plugins hydra_plugins
RUN pip install --no-deps --no-build-isolation .

ARG MODEL
COPY ${MODEL} /model
RUN useradd --system --uid 999 letters
USER 999
EXPOSE 5002
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:5002/ping')"]
CMD ["mlflow", "models", "serve", "--model-uri", "/model", "--env-manager", "local", "--host", "0.0.0.0", "--port", "5002"]
