# docker build -t grupo .
# docker run --rm -it --init grupo
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends make gcc libc6-dev libcrypt-dev netcat-openbsd procps \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /grupo
# What seldom changes comes first: the virtual environment.
COPY Makefile setup.mk requirements.txt requirements.lock requirements.py ./
RUN make .venv/ready install-figures install-perfetto install-notebooks install-guide install-bench install-tests
ENV PATH="/grupo/.venv/bin:$PATH"

COPY . .
CMD ["make", "demo"]
