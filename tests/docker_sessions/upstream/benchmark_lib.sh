# What the scripts share, after the contract of InferenceX's library: the names of its functions and of what they leave.

check_env_vars() {
    local missing=() name
    for name in "$@"; do
        [[ -n "${!name}" ]] || missing+=("$name")
    done
    if (( ${#missing[@]} )); then
        echo "Error: these variables are not set: ${missing[*]}" >&2
        exit 1
    fi
}

start_gpu_monitor() {
    nvidia-smi --query-gpu=timestamp,index,power.draw,temperature.gpu,utilization.gpu --format=csv -l 1 \
        > /workspace/gpu_metrics.csv 2> /dev/null &
    GPU_MONITOR_PID=$!
}

stop_gpu_monitor() {
    kill "$GPU_MONITOR_PID" 2> /dev/null
    wait "$GPU_MONITOR_PID" 2> /dev/null
    echo "$(cat /workspace/gpu_metrics.csv | wc -l) samples in /workspace/gpu_metrics.csv"
}

# Says what the server logs until it answers; fails only when it dies.
wait_for_server_ready() {
    local port log pid
    while (( $# )); do
        case $1 in
            --port) port=$2 ;;
            --server-log) log=$2 ;;
            --server-pid) pid=$2 ;;
        esac
        shift 2
    done
    set +x
    tail -f -n +1 "$log" &
    local tail_pid=$!
    until curl --output /dev/null --silent --fail "http://0.0.0.0:$port/health"; do
        if ! kill -0 "$pid" 2> /dev/null; then
            kill "$tail_pid"
            echo "the server died before it was ready" >&2
            exit 1
        fi
        sleep 0.1
    done
    kill "$tail_pid"
    set -x
}

run_benchmark_serving() {
    [[ "$EVAL_ONLY" != true ]] || return 0
    local model port backend input output ratio prompts concurrency name folder
    while (( $# )); do
        case $1 in
            --model) model=$2 ;;
            --port) port=$2 ;;
            --backend) backend=$2 ;;
            --input-len) input=$2 ;;
            --output-len) output=$2 ;;
            --random-range-ratio) ratio=$2 ;;
            --num-prompts) prompts=$2 ;;
            --max-concurrency) concurrency=$2 ;;
            --result-filename) name=$2 ;;
            --result-dir) folder=$2 ;;
        esac
        shift 2
    done
    python3 /workspace/utils/bench_serving/benchmark_serving.py \
        --model "$model" --backend "$backend" --base-url "http://0.0.0.0:$port" \
        --dataset-name random --random-input-len "$input" --random-output-len "$output" \
        --random-range-ratio "$ratio" --num-prompts "$prompts" --max-concurrency "$concurrency" \
        --num-warmups "$((2 * concurrency))" --request-rate inf --ignore-eos --save-result \
        --percentile-metrics ttft,tpot,itl,e2el --result-dir "$folder" --result-filename "$name.json" &
    local client=$!
    while kill -0 "$client" 2> /dev/null; do
        if ! kill -0 "$SERVER_PID" 2> /dev/null; then
            kill "$client"
            return 1
        fi
        sleep 0.1
    done
    wait "$client"
}

run_eval() {
    echo "no accuracy is checked here" >&2
    return 1
}

append_lm_eval_summary() {
    return 1
}
