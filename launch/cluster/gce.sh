#!/bin/bash
# Runs the same command on every host of a TPU pod of Compute Engine, which `gcloud compute tpus queued-resources create`
# (or `tpu-vm create`) has made. The workdir is in gs://, or on a file system that all hosts have mounted. When a host fails, the others
# end within a minute and ssh names the worker; run this file again to go on from the last checkpoint.

set -euo pipefail
gcloud compute tpus tpu-vm ssh {{ tpu }} \
  --zone={{ zone }} \
  --worker=all \
  --command={{ command_quoted }}
