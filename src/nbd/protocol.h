/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NBD protocol's numbers (https://github.com/NetworkBlockDevice/nbd, doc/proto.md), and how its messages lie in
 * memory.  All numbers are big-endian.
 */
#ifndef BYRE_NBD_PROTOCOL_H
#define BYRE_NBD_PROTOCOL_H

#include <stdint.h>

/* --- handshake --------------------------------------------------------------------------------------------- */

#define NBD_MAGIC        0x4e42444d41474943ULL /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC 0x49484156454f5054ULL /* "IHAVEOPT" */
#define NBD_REPLY_MAGIC  0x0003e889045565a9ULL

#define NBD_FLAG_FIXED_NEWSTYLE 1u /* of the server and of the client */
#define NBD_FLAG_NO_ZEROES      2u

#define NBD_NAME_MAX     4096u /* bytes of a string */
#define NBD_DEFAULT_PORT 10809u

enum nbd_option {
    NBD_OPT_EXPORT_NAME = 1,
    NBD_OPT_ABORT = 2,
    NBD_OPT_LIST = 3,
    NBD_OPT_STARTTLS = 5,
    NBD_OPT_INFO = 6,
    NBD_OPT_GO = 7,
    NBD_OPT_STRUCTURED_REPLY = 8,
    NBD_OPT_LIST_META_CONTEXT = 9,
    NBD_OPT_SET_META_CONTEXT = 10,
    NBD_OPT_EXTENDED_HEADERS = 11,
};

enum nbd_option_reply {
    NBD_REP_ACK = 1,
    NBD_REP_SERVER = 2,
    NBD_REP_INFO = 3,
    NBD_REP_META_CONTEXT = 4,
};

#define NBD_REP_ERROR          0x80000000u
#define NBD_REP_ERR_UNSUP      (NBD_REP_ERROR + 1)
#define NBD_REP_ERR_POLICY     (NBD_REP_ERROR + 2)
#define NBD_REP_ERR_INVALID    (NBD_REP_ERROR + 3)
#define NBD_REP_ERR_TLS_REQD   (NBD_REP_ERROR + 5)
#define NBD_REP_ERR_UNKNOWN    (NBD_REP_ERROR + 6)
#define NBD_REP_ERR_SHUTDOWN   (NBD_REP_ERROR + 7)
#define NBD_REP_ERR_BLOCK_SIZE (NBD_REP_ERROR + 8)
#define NBD_REP_ERR_TOO_BIG    (NBD_REP_ERROR + 9)

enum nbd_info {
    NBD_INFO_EXPORT = 0,
    NBD_INFO_NAME = 1,
    NBD_INFO_DESCRIPTION = 2,
    NBD_INFO_BLOCK_SIZE = 3,
};

/* --- transmission ------------------------------------------------------------------------------------------ */

#define NBD_FLAG_HAS_FLAGS            (1u << 0)
#define NBD_FLAG_READ_ONLY            (1u << 1)
#define NBD_FLAG_SEND_FLUSH           (1u << 2)
#define NBD_FLAG_SEND_FUA             (1u << 3)
#define NBD_FLAG_ROTATIONAL           (1u << 4)
#define NBD_FLAG_SEND_TRIM            (1u << 5)
#define NBD_FLAG_SEND_WRITE_ZEROES    (1u << 6)
#define NBD_FLAG_SEND_DF              (1u << 7)
#define NBD_FLAG_CAN_MULTI_CONN       (1u << 8)
#define NBD_FLAG_SEND_CACHE           (1u << 10)
#define NBD_FLAG_SEND_FAST_ZERO       (1u << 11)
#define NBD_FLAG_BLOCK_STATUS_PAYLOAD (1u << 12)

#define NBD_REQUEST_MAGIC          0x25609513u
#define NBD_EXTENDED_REQUEST_MAGIC 0x21e41c71u
#define NBD_SIMPLE_REPLY_MAGIC     0x67446698u
#define NBD_CHUNK_MAGIC            0x668e33efu
#define NBD_EXTENDED_REPLY_MAGIC   0x6e8a278cu

#define NBD_REQUEST_BYTES          28u /* magic 4, flags 2, type 2, cookie 8, offset 8, length 4 */
#define NBD_EXTENDED_REQUEST_BYTES 32u /* the same, length 8 */
#define NBD_SIMPLE_REPLY_BYTES     16u /* magic 4, error 4, cookie 8 */
#define NBD_CHUNK_BYTES            20u /* magic 4, flags 2, type 2, cookie 8, length 4 */
#define NBD_EXTENDED_REPLY_BYTES   32u /* magic 4, flags 2, type 2, cookie 8, offset 8, length 8 */

enum nbd_command {
    NBD_CMD_READ = 0,
    NBD_CMD_WRITE = 1,
    NBD_CMD_DISC = 2,
    NBD_CMD_FLUSH = 3,
    NBD_CMD_TRIM = 4,
    NBD_CMD_CACHE = 5,
    NBD_CMD_WRITE_ZEROES = 6,
    NBD_CMD_BLOCK_STATUS = 7,
};

#define NBD_CMD_FLAG_FUA         (1u << 0)
#define NBD_CMD_FLAG_NO_HOLE     (1u << 1)
#define NBD_CMD_FLAG_DF          (1u << 2)
#define NBD_CMD_FLAG_REQ_ONE     (1u << 3)
#define NBD_CMD_FLAG_FAST_ZERO   (1u << 4)
#define NBD_CMD_FLAG_PAYLOAD_LEN (1u << 5)

#define NBD_CHUNK_FLAG_DONE 1u

enum nbd_chunk {
    NBD_CHUNK_NONE = 0,
    NBD_CHUNK_OFFSET_DATA = 1,
    NBD_CHUNK_OFFSET_HOLE = 2,
    NBD_CHUNK_BLOCK_STATUS = 5,
    NBD_CHUNK_BLOCK_STATUS_EXT = 6,
    NBD_CHUNK_ERROR = 32769,
    NBD_CHUNK_ERROR_OFFSET = 32770,
};

#define NBD_STATE_HOLE 1u /* base:allocation */
#define NBD_STATE_ZERO 2u

/* Errors have these numbers on the wire, whatever the system's are. */
#define NBD_EPERM     1u
#define NBD_EIO       5u
#define NBD_ENOMEM    12u
#define NBD_EINVAL    22u
#define NBD_ENOSPC    28u
#define NBD_EOVERFLOW 75u
#define NBD_ENOTSUP   95u
#define NBD_ESHUTDOWN 108u

#endif
