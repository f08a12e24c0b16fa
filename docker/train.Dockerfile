# Trains: docker run --gpus all -v $PWD/runs:/asl_exp/runs asl_exp experiment=demo
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 MLFLOW_DISABLE_TELEMETRY=true
# hadolint ignore=DL3008  # a pinned git is gone from Debian's mirrors with the next mend of it
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
WORKDIR /asl_exp
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN pip install --require-hashes -r requirements.lock
COPY asl_exp asl_exp
COPY conf conf
COPY sweeps sweeps
COPY hydra_plugins hydra_plugins
RUN pip install --no-deps --no-build-isolation --editable .
VOLUME /asl_exp/runs
ENTRYPOINT ["python", "-m", "asl_exp"]
CMD ["--help"]
