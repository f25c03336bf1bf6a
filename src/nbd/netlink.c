/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages of generic netlink, written and read.
 */
#include "config.h"

#include "nbd/netlink.h"

#include <errno.h>
#include <string.h>

#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>

#define CTRL_VERSION 2

/* Appends bytes, and zeros up to where the next thing may begin. */
static int put(byre_nbd_bytes *out, const void *bytes, size_t length)
{
    size_t aligned = NLMSG_ALIGN(length);

    if (vec_reserve(out, aligned) < 0)
        return -ENOMEM;
    memset(out->ptr + out->len, 0, aligned);
    memcpy(out->ptr + out->len, bytes, length);
    out->len += aligned;
    return 0;
}

static int put_attribute(byre_nbd_bytes *out, uint16_t type, const void *value, size_t length)
{
    const struct nlattr head = { .nla_len = (uint16_t)(NLA_HDRLEN + length), .nla_type = type };

    return put(out, &head, sizeof head) < 0 ? -ENOMEM : put(out, value, length);
}

static int put_u32(byre_nbd_bytes *out, uint16_t type, uint32_t value)
{
    return put_attribute(out, type, &value, sizeof value);
}

static int put_u64(byre_nbd_bytes *out, uint16_t type, uint64_t value)
{
    return put_attribute(out, type, &value, sizeof value);
}

/* The attributes that come next lie inside of this one, until `end`. */
static int begin_nested(byre_nbd_bytes *out, uint16_t type, size_t *ret_at)
{
    const struct nlattr head = { .nla_type = type | NLA_F_NESTED };

    *ret_at = out->len;
    return put(out, &head, sizeof head);
}

static void end_nested(byre_nbd_bytes *out, size_t at)
{
    uint16_t length = (uint16_t)(out->len - at);

    memcpy(out->ptr + at + offsetof(struct nlattr, nla_len), &length, sizeof length);
}

static int begin(byre_nbd_bytes *out, uint32_t sequence, uint16_t family, uint8_t command, uint8_t version)
{
    const struct nlmsghdr head = { .nlmsg_type = family, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
                                   .nlmsg_seq = sequence };
    const struct genlmsghdr generic = { .cmd = command, .version = version };

    out->len = 0;
    return put(out, &head, sizeof head) < 0 ? -ENOMEM : put(out, &generic, sizeof generic);
}

static int end(byre_nbd_bytes *out, int rc)
{
    uint32_t length = (uint32_t)out->len;

    if (rc == 0)
        memcpy(out->ptr + offsetof(struct nlmsghdr, nlmsg_len), &length, sizeof length);
    return rc;
}

int byre_nbd_netlink_ask_family(byre_nbd_bytes *out, uint32_t sequence)
{
    int rc = begin(out, sequence, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_VERSION);

    if (rc == 0)
        rc = put_attribute(out, CTRL_ATTR_FAMILY_NAME, NBD_GENL_FAMILY_NAME, sizeof NBD_GENL_FAMILY_NAME);
    return end(out, rc);
}

static int put_sockets(byre_nbd_bytes *out, const int *sockets, unsigned count)
{
    size_t all, one;
    int rc = begin_nested(out, NBD_ATTR_SOCKETS, &all);

    for (unsigned i = 0; i < count && rc == 0; i++) {
        rc = begin_nested(out, NBD_SOCK_ITEM, &one);
        if (rc == 0)
            rc = put_u32(out, NBD_SOCK_FD, (uint32_t)sockets[i]);
        if (rc == 0)
            end_nested(out, one);
    }
    if (rc == 0)
        end_nested(out, all);
    return rc;
}

int byre_nbd_netlink_connect(byre_nbd_bytes *out, uint32_t sequence, uint16_t family,
                             const struct byre_nbd_device_settings *settings)
{
    int rc = begin(out, sequence, family, NBD_CMD_CONNECT, NBD_GENL_VERSION);

    if (rc == 0)
        rc = put_u32(out, NBD_ATTR_INDEX, settings->index);
    if (rc == 0)
        rc = put_u64(out, NBD_ATTR_SIZE_BYTES, settings->size);
    if (rc == 0)
        rc = put_u64(out, NBD_ATTR_BLOCK_SIZE_BYTES, settings->block_size);
    if (rc == 0)
        rc = put_u64(out, NBD_ATTR_SERVER_FLAGS, settings->flags);
    if (rc == 0)
        rc = put_sockets(out, settings->sockets, settings->socket_count);
    return end(out, rc);
}

int byre_nbd_netlink_disconnect(byre_nbd_bytes *out, uint32_t sequence, uint16_t family, unsigned index)
{
    int rc = begin(out, sequence, family, NBD_CMD_DISCONNECT, NBD_GENL_VERSION);

    if (rc == 0)
        rc = put_u32(out, NBD_ATTR_INDEX, index);
    return end(out, rc);
}

/* --- what comes back --------------------------------------------------------------------------------------- */

/* Looks for the family's number in attributes. */
static void take_attributes(const uint8_t *bytes, size_t length, struct byre_nbd_netlink_reply *reply)
{
    struct nlattr head;

    while (length >= sizeof head) {
        size_t whole;

        memcpy(&head, bytes, sizeof head);
        if (head.nla_len < sizeof head || head.nla_len > length)
            return;
        if ((head.nla_type & NLA_TYPE_MASK) == CTRL_ATTR_FAMILY_ID && head.nla_len >= sizeof head + sizeof(uint16_t))
            memcpy(&reply->family, bytes + sizeof head, sizeof reply->family);
        whole = NLA_ALIGN(head.nla_len);
        if (whole >= length)
            return;
        bytes += whole;
        length -= whole;
    }
}

static void take_message(const struct nlmsghdr *head, const uint8_t *payload, size_t length,
                         struct byre_nbd_netlink_reply *reply)
{
    const size_t generic = sizeof(struct genlmsghdr);

    if (head->nlmsg_type == NLMSG_ERROR && length >= sizeof(int)) {
        memcpy(&reply->error, payload, sizeof reply->error); /* 0: it was done */
        reply->over = true;
    } else if (head->nlmsg_type == GENL_ID_CTRL && length >= generic) {
        take_attributes(payload + generic, length - generic, reply);
    }
}

int byre_nbd_netlink_take(const uint8_t *bytes, size_t length, uint32_t sequence,
                          struct byre_nbd_netlink_reply *reply)
{
    struct nlmsghdr head;

    while (length >= sizeof head) {
        size_t whole;

        memcpy(&head, bytes, sizeof head);
        if (head.nlmsg_len < sizeof head || head.nlmsg_len > length)
            return -EPROTO;
        if (head.nlmsg_seq == sequence)
            take_message(&head, bytes + sizeof head, head.nlmsg_len - sizeof head, reply);
        whole = NLMSG_ALIGN((size_t)head.nlmsg_len);
        if (whole >= length)
            return 0;
        bytes += whole;
        length -= whole;
    }
    return length ? -EPROTO : 0;
}
