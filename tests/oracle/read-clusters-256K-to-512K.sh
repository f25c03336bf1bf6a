#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# qcow2 images that QEMU writes, read by byre: cluster sizes from 256K to 512K.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/oracle/matrix.sh
. "$TEST_TOP/tests/oracle/matrix.sh"
qemu_writes_matrix 262144 524288
