#!/usr/bin/env bash
# Everything that needs a GPU, in one command and in less than half an hour: bench/gpu_day.sh [--dry-run] [STAGE...]
#
# Without stages all of them run, the most important first. Each has its own time limit, and one that fails or
# is stopped does not keep the next from running. Results go to $OUT, or to bench/results/gpu-DATE:
#   results.json   every figure, written as it is measured       summary.md   bars and verdicts
#   STAGE.log      the output of parity and sanitize; of the tables together: tables.log
# The stage training runs only when it is named: it trains the larger model (training/h200.toml) for MINUTES (20) on
# the prose in TRAINING_DATA, and goes on where an earlier slice in $OUT/training stopped.
set -uo pipefail
cd "$(dirname "$0")/.."

stages=(environment parity lightning decode model ring-mini hypenet-2b attention moe cli sanitize sala offload)
declare -A limit=(
  [environment]=40 [parity]=240 [lightning]=170 [decode]=60 [model]=260 [attention]=90 [moe]=60 [cli]=190 [sanitize]=90
  [ring-mini]=120 [hypenet-2b]=120 [sala]=200 [offload]=100
  [training]=$((${MINUTES:-20} * 60 + 180))
)
python=${PYTHON:-python3}
out=${OUT:-bench/results/gpu-$(date -u +%F)}

dry=
chosen=()
for word in "$@"; do
  case $word in
    --dry-run) dry=1 ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *)
      [[ -n ${limit[$word]:-} ]] || { echo "gpu_day.sh: $word is no stage; there are: ${stages[*]}" >&2; exit 2; }
      chosen+=("$word") ;;
  esac
done
[[ ${#chosen[@]} -gt 0 ]] || chosen=("${stages[@]}")

# Packages that are not installed may lie in folders that PYTHONPATH names already.
export PYTHONPATH=$PWD:$PWD/tests${PYTHONPATH:+:$PYTHONPATH}
export OUT=$out PYTHONUNBUFFERED=1 TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1
export HYPOTHESIS_STORAGE_DIRECTORY=${TMPDIR:-/tmp}/hypothesis

parity() {
  local tests report=${TMPDIR:-/tmp}/parity.xml code
  rm -f "$report"
  tests=$(ls tests/test_gpu_step.py tests/test_*_triton.py tests/test_rounded.py tests/test_gpu_shapes.py)
  # shellcheck disable=SC2086  # a list of files
  LONGCTX_TEST_DEVICE=cuda TRITON_INTERPRET=0 PYTEST_PLUGINS=gpu CI=1 \
    timeout --signal=INT $((${limit_of_parity} - 20)) "$python" -m pytest -W default -p no:cacheprovider -n "${WORKERS:-8}" --dist worksteal --maxfail 60 -q -rfE --tb short \
    --junit-xml "$report" $tests
  code=$?
  "$python" -m bench.gpu.parity "$report" $code
}

training() { # killed when its time is over, it goes on from its last checkpoint the next time
  timeout "${MINUTES:-20}m" "$python" -m training.recipe --recipe training/h200.toml --device cuda \
    --data "${TRAINING_DATA:?names the folder with the prose}" --out "$OUT/training" \
    --workers "${WORKERS:-$(($(nproc) - 2))}" || [[ $? == 124 ]]
  tail -n 3 "$OUT/training/h200/log.jsonl"
}

command_of() { # what a stage runs
  case $1 in
    environment) echo "nvidia-smi; $python -m bench.gpu.environment" ;;
    parity | training) echo "$1" ;;
    ring-mini | hypenet-2b | sala) echo "$python -m bench.gpu.shapes $1" ;;
    *) echo "$python -m bench.gpu.$1" ;;
  esac
}

log_of() {
  case $1 in parity | sanitize | training) echo "$1.log" ;; *) echo tables.log ;; esac
}

if [[ -n $dry ]]; then
  for stage in "${chosen[@]}"; do
    printf '%-12s %4d s  %-14s %s\n' "$stage" "${limit[$stage]}" "$(log_of "$stage")" "$(command_of "$stage")"
  done
  exit 0
fi

mkdir -p "$out"
export -f parity training
export python limit_of_parity=${limit[parity]}
verdicts=()
for stage in "${chosen[@]}"; do
  began=$SECONDS
  echo "=== $stage (at most ${limit[$stage]} s)"
  timeout --kill-after=10 "${limit[$stage]}" bash -c "$(command_of "$stage")" 2>&1 | tee -a "$out/$(log_of "$stage")"
  code=${PIPESTATUS[0]}
  case $code in 0) word=done ;; 124 | 137) word="STOPPED at its limit" ;; *) word="failed ($code)" ;; esac
  verdicts+=("$(printf '%-12s %4d s  %s' "$stage" $((SECONDS - began)) "$word")")
done

echo "=== summary"
printf '%s\n' "${verdicts[@]}"
"$python" -m bench.gpu.report "$out" "${chosen[@]}"
