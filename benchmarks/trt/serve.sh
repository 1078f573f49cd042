#!/usr/bin/env bash
# Writes the options that trtllm-serve reads from a file, then becomes the server.
set -euo pipefail

max() { echo $(($1 > $2 ? $1 : $2)); }

graph_batch=$CONC
moe_backend=TRTLLM
if [[ $DP_ATTENTION == true ]]; then
    moe_backend=CUTLASS
    graph_batch=$(max 1 $((CONC / 4)))
fi
if [[ $PRECISION == fp8 ]]; then
    # Leaves out the model's extra prediction layer, which plain decoding does not use.
    export TLLM_OVERRIDE_LAYER_NUM=61
fi

# A whole prompt and one token of every other request in a step, in units of 64 tokens.
step_tokens=$(max 8192 $(((CONC + ISL + 127) / 64 * 64)))
sequence=$(max 8192 "$MAX_MODEL_LEN")

{
    cat <<YAML
cuda_graph_config:
  enable_padding: true
  max_batch_size: $graph_batch
enable_attention_dp: $DP_ATTENTION
kv_cache_config:
  dtype: fp8
  free_gpu_memory_fraction: 0.8
  enable_block_reuse: false
moe_config:
  backend: $moe_backend
print_iter_log: true
stream_interval: 10
YAML
    if [[ $DP_ATTENTION == true ]]; then
        cat <<YAML
attention_dp_config:
  batching_wait_iters: 0
  enable_balance: true
  timeout_iters: 60
YAML
    fi
    if [[ $PRECISION == fp8 && $CONC -ge 64 ]]; then
        sizes=(1 2 4 8 16 32 64 128 $(seq 256 256 "$step_tokens"))
        if ((step_tokens % 256)); then sizes+=("$step_tokens"); fi
        cat <<YAML
torch_compile_config:
  enable_piecewise_cuda_graph: true
  capture_num_tokens: [$(IFS=,; echo "${sizes[*]}")]
YAML
        if [[ $ISL == 1024 ]]; then
            cat <<YAML
batch_wait_timeout_iters: 40
batch_wait_max_tokens_ratio: 0.8
YAML
        fi
    fi
} >options.yaml

exec mpirun -n 1 --oversubscribe --allow-run-as-root \
    trtllm-serve "$MODEL" --host 0.0.0.0 --port "$PORT" --backend pytorch --trust_remote_code \
    --tp_size "$TP" --ep_size "$EP_SIZE" --max_seq_len "$sequence" --max_num_tokens "$step_tokens" \
    --extra_llm_api_options options.yaml
