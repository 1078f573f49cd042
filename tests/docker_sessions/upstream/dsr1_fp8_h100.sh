#!/usr/bin/env bash
# One point of one server, after the contract of InferenceX's single-node scripts: variables in, files in /workspace out.

source "$(dirname "$0")/../../benchmark_lib.sh"

check_env_vars \
    MODEL \
    TP \
    EP_SIZE \
    DP_ATTENTION \
    CONC \
    ISL \
    OSL \
    MAX_MODEL_LEN \
    RANDOM_RANGE_RATIO \
    RESULT_FILENAME

if [[ -n "$SLURM_JOB_ID" ]]; then
    echo "job $SLURM_JOB_ID on $SLURMD_NODENAME"
fi

nvidia-smi

hf download "$MODEL"

SERVER_LOG=/workspace/server.log
PORT=${PORT:-8888}
EXTRA_ARGS=""
if [[ "$EVAL_ONLY" == true ]]; then
    EXTRA_ARGS="--context-length $MAX_MODEL_LEN"
fi

export TORCH_CUDA_ARCH_LIST="9.0"

start_gpu_monitor

set -x
python3 -m sglang.launch_server --model-path "$MODEL" --host 0.0.0.0 --port "$PORT" \
    --tensor-parallel-size "$TP" --expert-parallel-size "$EP_SIZE" --disable-radix-cache $EXTRA_ARGS \
    > "$SERVER_LOG" 2>&1 &
SERVER_PID=$!

wait_for_server_ready --port "$PORT" --server-log "$SERVER_LOG" --server-pid "$SERVER_PID"

run_benchmark_serving \
    --model "$MODEL" \
    --port "$PORT" \
    --backend vllm \
    --input-len "$ISL" \
    --output-len "$OSL" \
    --random-range-ratio "$RANDOM_RANGE_RATIO" \
    --num-prompts "$((CONC * 10))" \
    --max-concurrency "$CONC" \
    --result-filename "$RESULT_FILENAME" \
    --result-dir /workspace/

if [[ "$RUN_EVAL" == true ]]; then
    run_eval --framework lm-eval --port "$PORT"
    append_lm_eval_summary
fi

stop_gpu_monitor
set +x
