#!/bin/bash
# TPU slices of a GKE cluster by way of xpk, which writes the JobSet itself. --restart-on-user-code-failure restarts after
# a failure of any host; training goes on from its last checkpoint.

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
