/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libbyre: qcow2 and raw disk images.  This header includes all others.
 */
#ifndef BYRE_BYRE_H
#define BYRE_BYRE_H

#include "byre/amend.h"
#include "byre/bitmap.h"
#include "byre/check.h"
#include "byre/compare.h"
#include "byre/convert.h"
#include "byre/create.h"
#include "byre/disk.h"
#include "byre/error.h"
#include "byre/extent.h"
#include "byre/files.h"
#include "byre/info.h"
#include "byre/partition.h"
#include "byre/snapshot.h"

#endif
