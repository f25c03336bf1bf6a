/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loading credentials.  Where qemu-nbd has words for what is wrong, they are these.
 */
#include "config.h"

#include "nbd/tls_creds.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "nbd/tls_files.h"

/* NBD's document wants nothing older than TLS 1.2 unless somebody asks for it. */
#define PRIORITY      "NORMAL:-VERS-TLS1.0:-VERS-TLS1.1"
#define PRIORITY_PSK  ":+ECDHE-PSK:+DHE-PSK:+PSK"
#define PRIORITY_ANON ":+ANON-ECDH:+ANON-DH"

struct byre_nbd_creds {
    enum byre_nbd_creds_kind kind;
    bool verify_peer, global; /* global: GnuTLS was started */
    gnutls_priority_t priority;
    gnutls_dh_params_t dh;    /* or NULL: what GnuTLS knows */
    union {
        gnutls_certificate_credentials_t x509;
        gnutls_psk_server_credentials_t psk;
        gnutls_anon_server_credentials_t anon;
    };
};

static int no_memory(struct byre_error *err)
{
    return byre_error_set_errno(err, -ENOMEM, "TLS credentials");
}

/* --- the files --------------------------------------------------------------------------------------------- */

/* The path of a file of theirs, to be freed.  1; 0 where it is missing and need not be there. */
static int find_file(const struct byre_nbd_creds_options *options, const char *name, bool needed, char **ret_path,
                     struct byre_error *err)
{
    char *path;
    int rc;

    if (!options->dir)
        return 0;
    if (asprintf(&path, "%s/%s", options->dir, name) < 0)
        return no_memory(err);
    rc = access(path, R_OK) < 0 ? -errno : 1;
    if (rc == -ENOENT && !needed)
        rc = 0;
    else if (rc < 0)
        byre_error_set(err, rc, "Unable to access credentials %s: %s", path, strerror(-rc));
    if (rc == 1)
        *ret_path = path;
    else
        free(path);
    return rc;
}

static int load_dh(struct byre_nbd_creds *creds, const struct byre_nbd_creds_options *options, struct byre_error *err)
{
    CLEANUP(free_ptr) char *path = NULL;
    gnutls_datum_t text = { NULL, 0 };
    int rc = find_file(options, "dh-params.pem", false, &path, err), code;

    if (rc <= 0)
        return rc;
    code = gnutls_load_file(path, &text);
    if (code >= 0)
        code = gnutls_dh_params_init(&creds->dh);
    if (code >= 0)
        code = gnutls_dh_params_import_pkcs3(creds->dh, &text, GNUTLS_X509_FMT_PEM);
    gnutls_free(text.data);
    return code < 0 ? byre_error_set(err, -EINVAL, "Unable to load DH parameters from %s: %s", path,
                                     gnutls_strerror(code))
                    : 0;
}

/* --- the kinds --------------------------------------------------------------------------------------------- */

struct files {
    char *ca, *cert, *key, *crl;
};

static void files_done(struct files *files)
{
    free(files->ca);
    free(files->cert);
    free(files->key);
    free(files->crl);
}

static int load_certificates(struct byre_nbd_creds *creds, const struct byre_nbd_creds_options *options,
                             const struct files *files, struct byre_error *err)
{
    int code = gnutls_certificate_set_x509_trust_file(creds->x509, files->ca, GNUTLS_X509_FMT_PEM);

    if (code <= 0)
        return byre_error_set(err, -EINVAL, "Cannot load CA certificate '%s': %s", files->ca,
                              code ? gnutls_strerror(code) : "it holds none");
    code = gnutls_certificate_set_x509_key_file2(creds->x509, files->cert, files->key, GNUTLS_X509_FMT_PEM,
                                                 options->password, 0);
    if (code < 0)
        return byre_error_set(err, -EINVAL, "Cannot load certificate '%s' & key '%s': %s", files->cert, files->key,
                              gnutls_strerror(code));
    if (files->crl)
        code = gnutls_certificate_set_x509_crl_file(creds->x509, files->crl, GNUTLS_X509_FMT_PEM);
    return code < 0 ? byre_error_set(err, -EINVAL, "Cannot load CRL '%s': %s", files->crl, gnutls_strerror(code)) : 0;
}

static int load_x509(struct byre_nbd_creds *creds, const struct byre_nbd_creds_options *options,
                     struct byre_error *err)
{
    struct files files = { NULL };
    int rc = find_file(options, "ca-cert.pem", true, &files.ca, err);

    if (rc > 0)
        rc = find_file(options, "server-cert.pem", true, &files.cert, err);
    if (rc > 0)
        rc = find_file(options, "server-key.pem", true, &files.key, err);
    if (rc > 0)
        rc = find_file(options, "ca-crl.pem", false, &files.crl, err);
    if (rc >= 0)
        rc = options->sanity_check ? byre_nbd_tls_judge_certificates(files.ca, files.cert, err) : 0;
    if (rc == 0 && gnutls_certificate_allocate_credentials(&creds->x509) < 0)
        rc = no_memory(err);
    if (rc == 0)
        rc = load_certificates(creds, options, &files, err);
    if (rc == 0 && creds->dh)
        gnutls_certificate_set_dh_params(creds->x509, creds->dh);
    else if (rc == 0)
        (void)gnutls_certificate_set_known_dh_params(creds->x509, GNUTLS_SEC_PARAM_MEDIUM);
    files_done(&files);
    return rc;
}

static int load_psk(struct byre_nbd_creds *creds, const struct byre_nbd_creds_options *options, struct byre_error *err)
{
    CLEANUP(free_ptr) char *path = NULL;
    int rc = find_file(options, "keys.psk", true, &path, err), code;

    if (rc > 0)
        rc = byre_nbd_tls_judge_keys(path, err);
    if (rc == 0 && gnutls_psk_allocate_server_credentials(&creds->psk) < 0)
        rc = no_memory(err);
    if (rc < 0)
        return rc;
    code = gnutls_psk_set_server_credentials_file(creds->psk, path);
    if (code < 0)
        return byre_error_set(err, -EINVAL, "Unable to load keys from %s: %s", path, gnutls_strerror(code));
    if (creds->dh)
        gnutls_psk_set_server_dh_params(creds->psk, creds->dh);
    else
        (void)gnutls_psk_set_server_known_dh_params(creds->psk, GNUTLS_SEC_PARAM_MEDIUM);
    return 0;
}

static int load_anon(struct byre_nbd_creds *creds, struct byre_error *err)
{
    if (gnutls_anon_allocate_server_credentials(&creds->anon) < 0)
        return no_memory(err);
    if (creds->dh)
        gnutls_anon_set_server_dh_params(creds->anon, creds->dh);
    else
        (void)gnutls_anon_set_server_known_dh_params(creds->anon, GNUTLS_SEC_PARAM_MEDIUM);
    return 0;
}

static int load_priority(struct byre_nbd_creds *creds, const struct byre_nbd_creds_options *options,
                         struct byre_error *err)
{
    static const char *const suffixes[] = {
        [BYRE_NBD_CREDS_X509] = "", [BYRE_NBD_CREDS_PSK] = PRIORITY_PSK, [BYRE_NBD_CREDS_ANON] = PRIORITY_ANON,
    };
    CLEANUP(free_ptr) char *text = NULL;
    int code;

    if (asprintf(&text, "%s%s", options->priority ? options->priority : PRIORITY, suffixes[options->kind]) < 0) {
        text = NULL;
        return no_memory(err);
    }
    code = gnutls_priority_init(&creds->priority, text, NULL);
    return code < 0 ? byre_error_set(err, -EINVAL, "Unable to set TLS session priority %s: %s", text,
                                     gnutls_strerror(code))
                    : 0;
}

/* --- the whole --------------------------------------------------------------------------------------------- */

static int load(struct byre_nbd_creds *creds, const struct byre_nbd_creds_options *options, struct byre_error *err)
{
    int code = gnutls_global_init(), rc;

    if (code < 0)
        return byre_error_set(err, -EIO, "GnuTLS does not start: %s", gnutls_strerror(code));
    creds->global = true;
    if (!options->dir && options->kind != BYRE_NBD_CREDS_ANON)
        return byre_error_set(err, -EINVAL, "Missing 'dir' property value");
    rc = load_priority(creds, options, err);
    if (rc == 0)
        rc = load_dh(creds, options, err);
    if (rc < 0)
        return rc;
    switch (options->kind) {
    case BYRE_NBD_CREDS_X509: return load_x509(creds, options, err);
    case BYRE_NBD_CREDS_PSK: return load_psk(creds, options, err);
    case BYRE_NBD_CREDS_ANON: return load_anon(creds, err);
    }
    return -EINVAL;
}

int byre_nbd_creds_new(const struct byre_nbd_creds_options *options, struct byre_nbd_creds **ret_creds,
                       struct byre_error *err)
{
    struct byre_nbd_creds *creds = calloc(1, sizeof *creds);
    int rc;

    if (!creds)
        return no_memory(err);
    creds->kind = options->kind;
    creds->verify_peer = options->kind == BYRE_NBD_CREDS_X509 && options->verify_peer;
    rc = load(creds, options, err);
    if (rc < 0)
        byre_nbd_creds_free(creds);
    else
        *ret_creds = creds;
    return rc;
}

void byre_nbd_creds_free(struct byre_nbd_creds *creds)
{
    if (!creds)
        return;
    if (creds->kind == BYRE_NBD_CREDS_X509 && creds->x509)
        gnutls_certificate_free_credentials(creds->x509);
    if (creds->kind == BYRE_NBD_CREDS_PSK && creds->psk)
        gnutls_psk_free_server_credentials(creds->psk);
    if (creds->kind == BYRE_NBD_CREDS_ANON && creds->anon)
        gnutls_anon_free_server_credentials(creds->anon);
    if (creds->dh)
        gnutls_dh_params_deinit(creds->dh);
    if (creds->priority)
        gnutls_priority_deinit(creds->priority);
    if (creds->global)
        gnutls_global_deinit();
    free(creds);
}

enum byre_nbd_creds_kind byre_nbd_creds_kind(const struct byre_nbd_creds *creds)
{
    return creds->kind;
}

bool byre_nbd_creds_verify_peer(const struct byre_nbd_creds *creds)
{
    return creds->verify_peer;
}

bool byre_nbd_creds_identify(const struct byre_nbd_creds *creds)
{
    return creds->kind == BYRE_NBD_CREDS_PSK || creds->verify_peer;
}

static int give(const struct byre_nbd_creds *creds, gnutls_session_t session)
{
    switch (creds->kind) {
    case BYRE_NBD_CREDS_X509:
        gnutls_certificate_server_set_request(session, creds->verify_peer ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
        return gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, creds->x509);
    case BYRE_NBD_CREDS_PSK: return gnutls_credentials_set(session, GNUTLS_CRD_PSK, creds->psk);
    case BYRE_NBD_CREDS_ANON: return gnutls_credentials_set(session, GNUTLS_CRD_ANON, creds->anon);
    }
    return GNUTLS_E_INVALID_REQUEST;
}

int byre_nbd_creds_session(const struct byre_nbd_creds *creds, gnutls_session_t *ret_session)
{
    gnutls_session_t session;

    if (gnutls_init(&session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS) < 0)
        return -ENOMEM;
    if (gnutls_priority_set(session, creds->priority) < 0 || give(creds, session) < 0) {
        gnutls_deinit(session);
        return -ENOMEM;
    }
    *ret_session = session;
    return 0;
}
