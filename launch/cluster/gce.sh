#!/bin/bash
# A TPU pod of Compute Engine, made before with `gcloud compute tpus queued-resources create` (or `tpu-vm create`): the same
# command on every host. The workdir lies on a file system that all of them have mounted. When a host fails, the others
# end within a minute and ssh names the worker; run this file again to go on from the last checkpoint.

set -euo pipefail
gcloud compute tpus tpu-vm ssh {{ tpu }} \
  --zone={{ zone }} \
  --worker=all \
  --command={{ command_quoted }}
