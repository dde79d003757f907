# docker build -t grupo .
# docker run --rm -it --init grupo
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends make gcc libc6-dev libcrypt-dev netcat-openbsd procps \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /grupo
# The virtual environment comes first: it seldom changes, so Docker can reuse its layer.
COPY Makefile requirements.txt ./
RUN make .venv/ready
ENV PATH="/grupo/.venv/bin:$PATH"

COPY . .
CMD ["make", "demo"]
