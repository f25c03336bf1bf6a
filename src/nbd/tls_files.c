/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Judging certificates and lists of keys.
 */
#include "config.h"

#include "nbd/tls_files.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define KEYS_MAX (1u << 20) /* bytes of a list of keys */

/* --- certificates ------------------------------------------------------------------------------------------ */

struct certificates {
    gnutls_x509_crt_t *list;
    unsigned count;
};

static void done(struct certificates *certificates)
{
    for (unsigned i = 0; i < certificates->count; i++)
        gnutls_x509_crt_deinit(certificates->list[i]);
    gnutls_free(certificates->list);
}

static int import(const char *path, const char *what, struct certificates *ret_certificates, struct byre_error *err)
{
    gnutls_datum_t text = { NULL, 0 };
    int code = gnutls_load_file(path, &text);

    if (code >= 0)
        code = gnutls_x509_crt_list_import2(&ret_certificates->list, &ret_certificates->count, &text,
                                            GNUTLS_X509_FMT_PEM, 0);
    gnutls_free(text.data);
    return code < 0 ? byre_error_set(err, -EINVAL, "Unable to import %s %s: %s", what, path, gnutls_strerror(code)) : 0;
}

static int judge_dates(const struct certificates *certificates, const char *path, const char *whose,
                       struct byre_error *err)
{
    time_t now = time(NULL);

    for (unsigned i = 0; i < certificates->count; i++) {
        if (gnutls_x509_crt_get_expiration_time(certificates->list[i]) < now)
            return byre_error_set(err, -EINVAL, "The %s certificate %s has expired", whose, path);
        if (gnutls_x509_crt_get_activation_time(certificates->list[i]) > now)
            return byre_error_set(err, -EINVAL, "The %s certificate %s is not yet active", whose, path);
    }
    return 0;
}

static int judge_authorities(const struct certificates *authorities, const char *path, struct byre_error *err)
{
    for (unsigned i = 0; i < authorities->count; i++) {
        unsigned usage = 0, critical;

        if (gnutls_x509_crt_get_ca_status(authorities->list[i], NULL) <= 0)
            return byre_error_set(err, -EINVAL, "The certificate %s basic constraints do not show a CA", path);
        if (gnutls_x509_crt_get_key_usage(authorities->list[i], &usage, &critical) >= 0 && critical &&
            !(usage & GNUTLS_KEY_KEY_CERT_SIGN))
            return byre_error_set(err, -EINVAL, "Certificate %s usage does not permit certificate signing", path);
    }
    return judge_dates(authorities, path, "CA", err);
}

static int judge_chain(const struct certificates *chain, const struct certificates *authorities, const char *ca,
                       const char *cert, struct byre_error *err)
{
    gnutls_datum_t reason = { NULL, 0 };
    unsigned status = 0;
    int code = gnutls_x509_crt_list_verify(chain->list, (int)chain->count, authorities->list, (int)authorities->count,
                                           NULL, 0, 0, &status);

    if (code < 0)
        return byre_error_set(err, -EINVAL, "Unable to verify server certificate %s against CA certificate %s: %s",
                              cert, ca, gnutls_strerror(code));
    if (!status)
        return 0;
    if (status & GNUTLS_CERT_SIGNER_NOT_FOUND)
        return byre_error_set(err, -EINVAL, "Our own certificate %s failed validation against %s: The certificate "
                              "hasn't got a known issuer", cert, ca);
    (void)gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &reason, 0);
    byre_error_set(err, -EINVAL, "Our own certificate %s failed validation against %s: %s", cert, ca,
                   reason.data ? (const char *)reason.data : "it is not valid");
    gnutls_free(reason.data);
    return -EINVAL;
}

int byre_nbd_tls_judge_certificates(const char *ca, const char *cert, struct byre_error *err)
{
    struct certificates authorities = { NULL, 0 }, chain = { NULL, 0 };
    int rc = import(cert, "server certificate", &chain, err);

    if (rc == 0)
        rc = import(ca, "CA certificate list", &authorities, err);
    if (rc == 0)
        rc = judge_dates(&chain, cert, "server", err);
    if (rc == 0)
        rc = judge_authorities(&authorities, ca, err);
    if (rc == 0)
        rc = judge_chain(&chain, &authorities, ca, cert, err);
    done(&authorities);
    done(&chain);
    return rc;
}

/* --- keys -------------------------------------------------------------------------------------------------- */

/* "NAME:HEX" without its end of line. */
static bool is_key(const char *line, size_t length)
{
    const char *colon = memchr(line, ':', length);
    size_t digits = colon ? length - (size_t)(colon + 1 - line) : 0;

    return colon && colon > line && digits && digits % 2 == 0 &&
           strspn(colon + 1, "0123456789abcdefABCDEF") >= digits;
}

static int judge_lines(FILE *file, const char *path, struct byre_error *err)
{
    unsigned number = 0, found = 0;
    char *line = NULL;
    size_t room = 0, total = 0;
    ssize_t length;
    int rc = 0;

    while (rc == 0 && (length = getline(&line, &room, file)) >= 0) {
        total += (size_t)length;
        number++;
        while (length && (line[length - 1] == '\n' || line[length - 1] == '\r'))
            length--;
        if (total > KEYS_MAX)
            rc = byre_error_set(err, -EINVAL, "Unable to load keys from %s: it has more than %u bytes", path, KEYS_MAX);
        else if (length && is_key(line, (size_t)length))
            found++;
        else if (length && *line != '#')
            rc = byre_error_set(err, -EINVAL, "Unable to load keys from %s: line %u is not USERNAME:KEY with a key in "
                                "hexadecimal digits", path, number);
    }
    if (line)
        explicit_bzero(line, room);
    free(line);
    if (rc == 0 && ferror(file))
        rc = byre_error_set_errno(err, -EIO, "Unable to load keys from %s", path);
    if (rc == 0 && !found)
        rc = byre_error_set(err, -EINVAL, "Unable to load keys from %s: there is no key in it", path);
    return rc;
}

int byre_nbd_tls_judge_keys(const char *path, struct byre_error *err)
{
    FILE *file = fopen(path, "re");
    struct stat st;
    int rc;

    if (!file)
        return byre_error_set(err, -errno, "Unable to access credentials %s: %s", path, strerror(errno));
    if (fstat(fileno(file), &st) < 0 || !S_ISREG(st.st_mode))
        rc = byre_error_set(err, -EINVAL, "Unable to load keys from %s: it is no regular file", path);
    else
        rc = judge_lines(file, path, err);
    fclose(file);
    return rc;
}
