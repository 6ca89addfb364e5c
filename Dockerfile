# One image for web, worker and beat. The engine is the embedded one, unless a
# llama-server is mounted and LLAMA_SERVER_PATH names it.
FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 MAGI_DATA_DIR=/data MODEL_SCAN_PATH=/models
# What is fetched lies in the volume: /models is read-only, and so is the rest of a container.
ENV HF_HOME=/data/huggingface OLLAMA_MODELS=/data/ollama
WORKDIR /app

# llama.cpp's wheel is linked against OpenMP.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*

COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt

COPY . .
RUN useradd --create-home magi && install -d -o magi -g magi -m 0700 /data
USER magi
VOLUME /data
EXPOSE 8000

CMD ["python", "-m", "magi_site.web", "--host", "0.0.0.0", "--port", "8000"]
