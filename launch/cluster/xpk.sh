#!/bin/bash
# TPU slices of a GKE cluster through xpk, which writes the JobSet itself. --restart-on-user-code-failure restarts the job
# when any host fails; training then goes on from the last checkpoint.

set -euo pipefail
xpk workload create \
  --cluster {{ cluster }} \
  --workload {{ name }} \
  --tpu-type={{ tpu_type }} \
  --num-slices={{ slices }} \
  --docker-image={{ image }} \
  --max-restarts={{ restarts }} \
  --restart-on-user-code-failure \
  --command {{ command_quoted }}
