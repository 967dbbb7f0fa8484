#!/bin/sh
# Trains PixArt Sigma at the size of the 900M model, from random weights, through SimpleTuner's API, and prints seconds per
# step, the peak memory of the worker and what `stepd plan` foresaw: run.sh [STEPS] [FOLDER]. The text encoder has one layer
# instead of 24: captions are encoded once, before the first step, and do not take part in it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
stepd=$here/../../bin/stepd
steps=${1:-6} work=${2:-$here/../../build/pixart-900m}
model=$work/model address=127.0.0.1:${PORT:-8017}
mkdir -p "$work/pictures" "$work/output"

part() { [ -e "$model/$1/config.json" ] || "$stepd" init-model pixart --component "$1" --config "$here/$1.json" --seed 1 --dtype "$2" --out "$model/$1"; }
part transformer bf16
part text_encoder bf16
part vae fp32
mkdir -p "$model/scheduler"
cp "$here/scheduler.json" "$model/scheduler/scheduler_config.json"
cp "$here/model_index.json" "$model/"
cp -r "$here/../emoji/model/tokenizer" "$model/" 2>/dev/null || true
cp "$here/../emoji/pictures/"*.png "$here/../emoji/pictures/"*.txt "$work/pictures/"
cat >"$work/multidatabackend.json" <<JSON
[{"id": "pictures", "type": "local", "dataset_type": "image", "instance_data_dir": "$work/pictures", "caption_strategy": "textfile",
  "resolution": 512, "resolution_type": "pixel", "crop": true, "crop_aspect": "square", "crop_style": "center"},
 {"id": "texts", "type": "local", "dataset_type": "text_embeds", "default": true, "cache_dir": "$work/texts"}]
JSON

"$stepd" serve --listen "$address" --no-auth --data "$work/data" 2>"$work/server.log" &
server=$!
trap 'kill $server; wait $server || true' EXIT
until curl -sf "http://$address/health" >/dev/null; do kill -0 $server; done
rm -rf "$work/output/run"
curl -s "http://$address/api/training/start" -F --model_family=pixart_sigma -F --model_type=full -F "--pretrained_model_name_or_path=$model" \
    -F "--output_dir=$work/output/run" -F "--data_backend_config=$work/multidatabackend.json" -F --train_batch_size=1 \
    -F --optimizer=adamw_bf16 -F --base_model_precision=bf16 -F --learning_rate=1e-5 -F "--max_train_steps=$steps" -F --num_train_epochs=0 \
    -F --validation_disable=true -F --gradient_checkpointing=false -F --seed=1 | tee "$work/start.html"
echo
id=$(sed -n 's/.*Job ID: *\(<[^>]*>\)*\([0-9a-f]\{8\}\).*/\2/p' "$work/start.html" | head -1)
session() { curl -s "http://$address/sessions/$id"; }
peak=0
until session | grep -qE '"status": ?"(completed|error|aborted|interrupted)"'; do
    for pid in $(pgrep -P $server); do
        now=$(sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status" 2>/dev/null || true)
        if [ "${now:-0}" -gt "$peak" ]; then peak=$now; fi
    done
    sleep 1
done
session | grep -q '"status": \{0,1\}"completed"' || { session; exit 1; }
events() { curl -s "http://$address/sessions/$id/events?since=0" | sed 's/{"seq"/\n&/g' | grep "\"kind\":\"$1\""; }
events plan | sed -n 's/.*"total":\([0-9]*\).*/\1/p' | tail -1 | awk -v peak="$peak" '{
    printf "planned %.2f GiB, measured peak of the worker %.2f GiB (plan is %+.1f %%)\n", $1 / 2^30, peak / 2^20, ($1 / 2^30 / (peak / 2^20) - 1) * 100 }'
# The first step also records and plans its graph.
events step | sed -n 's/.*"seconds":\([0-9.]*\).*/\1/p' | tail -n +2 | sort -n | awk '{ v[NR] = $1 } END {
    printf "%d steps after the first: median %.2f s, fastest %.2f s\n", NR, (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2, v[1] }'
