/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From options and objects to credentials.
 */
#include "config.h"

#include "nbd/command_line_tls.h"

#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "cli/message.h"
#include "cli/objects.h"

struct named {
    char *id;
    bool is_creds;
    struct byre_nbd_creds *creds; /* of a server; else `client` is what is known of them */
    struct byre_nbd_authz *authz;
    struct byre_nbd_tls_client client;
};

static VEC(struct named) objects;

static int note(const struct byre_object *object, bool is_creds, struct byre_nbd_creds *creds,
                struct byre_nbd_authz *authz)
{
    struct named named = { .id = strdup(byre_object_get(object, "id")), .is_creds = is_creds, .creds = creds,
                           .authz = authz };

    if (!named.id || vec_push(&objects, named) < 0)
        byre_die_no_memory();
    return 0;
}

static bool is_on(const struct byre_object *object, const char *key, bool by_default)
{
    const char *text = byre_object_get(object, key);

    return text ? strcmp(text, "on") == 0 : by_default;
}

/* --- the kinds --------------------------------------------------------------------------------------------- */

/* What libnbd, which is the client, cannot be told of is refused. */
static int note_client(const struct byre_object *object, const struct byre_nbd_creds_options *options)
{
    static const char *const unknown[] = { "priority", "passwordid" };
    const char *username = byre_object_get(object, "username");
    struct byre_nbd_tls_client client = { .verify_peer = options->verify_peer };

    for (unsigned i = 0; i < ARRAY_LEN(unknown); i++) {
        if (byre_object_get(object, unknown[i]))
            return byre_complain("Parameter '%s' has no effect with endpoint=client", unknown[i]);
    }
    if (options->dir && options->kind == BYRE_NBD_CREDS_X509)
        client.certificates = strdup(options->dir);
    if (options->dir && options->kind == BYRE_NBD_CREDS_PSK) {
        client.username = strdup(username ? username : "qemu");
        if (asprintf(&client.psk_file, "%s/keys.psk", options->dir) < 0 || !client.username)
            byre_die_no_memory();
    }
    if (options->dir && options->kind == BYRE_NBD_CREDS_X509 && !client.certificates)
        byre_die_no_memory();
    (void)note(object, true, NULL, NULL);
    objects.ptr[objects.len - 1].client = client;
    return 0;
}

static int add_creds(const struct byre_object *object, struct byre_nbd_creds_options *options)
{
    const char *endpoint = byre_object_get(object, "endpoint");
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_nbd_creds *creds = NULL;

    options->dir = byre_object_get(object, "dir");
    options->priority = byre_object_get(object, "priority");
    if (endpoint && strcmp(endpoint, "server") != 0 && strcmp(endpoint, "client") != 0)
        return byre_complain("Parameter 'endpoint' does not accept value '%s'", endpoint);
    if (!endpoint || strcmp(endpoint, "client") == 0)
        return note_client(object, options);
    if (byre_nbd_creds_new(options, &creds, &err) < 0)
        return byre_complain_error(&err, "%s", "");
    return note(object, true, creds, NULL);
}

static int add_x509(const struct byre_object *object)
{
    struct byre_nbd_creds_options options = {
        .kind = BYRE_NBD_CREDS_X509,
        .verify_peer = is_on(object, "verify-peer", true),
        .sanity_check = is_on(object, "sanity-check", true),
    };
    const char *secret = byre_object_get(object, "passwordid");
    struct byre_error err = BYRE_ERROR_INIT;

    if (secret && byre_secrets_text(byre_objects_secrets(), secret, &options.password, &err) < 0)
        return byre_complain_error(&err, "%s", "");
    return add_creds(object, &options);
}

static int add_psk(const struct byre_object *object)
{
    struct byre_nbd_creds_options options = { .kind = BYRE_NBD_CREDS_PSK };
    const char *endpoint = byre_object_get(object, "endpoint");

    if (endpoint && strcmp(endpoint, "server") == 0 && byre_object_get(object, "username"))
        return byre_complain("username should not be set when endpoint=server");
    return add_creds(object, &options);
}

static int add_anon(const struct byre_object *object)
{
    struct byre_nbd_creds_options options = { .kind = BYRE_NBD_CREDS_ANON };

    return add_creds(object, &options);
}

static int add_simple(const struct byre_object *object)
{
    const char *identity = byre_object_get(object, "identity");
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_nbd_authz *authz;

    if (!identity)
        return byre_complain("Parameter 'identity' is missing");
    if (byre_nbd_authz_new(NULL, &authz, &err) < 0 || byre_nbd_authz_add(authz, identity, "allow", NULL, &err) < 0)
        return byre_complain_error(&err, "%s", "");
    return note(object, false, NULL, authz);
}

/* "rules.NUMBER.KEY": the property, or NULL. */
static const char *rule_get(const struct byre_object *object, unsigned number, const char *key)
{
    char name[64];

    snprintf(name, sizeof name, "rules.%u.%s", number, key);
    return byre_object_get(object, name);
}

/* Rules are numbered from 0 on without a gap; whatever else is there is taken by none, and refused. */
static int add_list(const struct byre_object *object)
{
    static const char *const keys[] = { "match", "policy", "format" };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_nbd_authz *authz;
    unsigned taken = 0;

    if (byre_nbd_authz_new(byre_object_get(object, "policy"), &authz, &err) < 0)
        return byre_complain_error(&err, "%s", "");
    for (unsigned i = 0, here = 1; here; i++) {
        const char *texts[ARRAY_LEN(keys)];

        here = 0;
        for (unsigned j = 0; j < ARRAY_LEN(keys); j++) {
            texts[j] = rule_get(object, i, keys[j]);
            here += texts[j] != NULL;
        }
        if (here && byre_nbd_authz_add(authz, texts[0], texts[1], texts[2], &err) < 0) {
            byre_nbd_authz_free(authz);
            return byre_complain_error(&err, "rules.%u: ", i);
        }
        taken += here;
    }
    if (taken != byre_object_count(object, "rules.")) {
        byre_nbd_authz_free(authz);
        return byre_complain("Parameter 'rules' has members that belong to no rule: 'rules.NUMBER.' and 'match', "
                             "'policy' or 'format', with numbers from 0 on");
    }
    return note(object, false, NULL, authz);
}

static int add_list_file(const struct byre_object *object)
{
    const char *path = byre_object_get(object, "filename");
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_nbd_authz *authz;

    if (!path)
        return byre_complain("Parameter 'filename' is missing");
    if (byre_nbd_authz_new_file(path, is_on(object, "refresh", true), &authz, &err) < 0)
        return byre_complain_error(&err, "%s", "");
    return note(object, false, NULL, authz);
}

static const char *const anon_properties[] = { "dir=<string>", "endpoint=<QCryptoTLSCredsEndpoint>",
                                               "priority=<string>", "verify-peer=<bool>", NULL };
static const char *const psk_properties[] = { "dir=<string>", "endpoint=<QCryptoTLSCredsEndpoint>",
                                              "priority=<string>", "username=<string>", "verify-peer=<bool>", NULL };
static const char *const x509_properties[] = { "dir=<string>", "endpoint=<QCryptoTLSCredsEndpoint>",
                                               "passwordid=<string>", "priority=<string>", "sanity-check=<bool>",
                                               "verify-peer=<bool>", NULL };
static const char *const simple_properties[] = { "identity=<string>", NULL };
static const char *const list_properties[] = { "policy=<QAuthZListPolicy>", "rules=<QAuthZListRule>", NULL };
static const char *const file_properties[] = { "filename=<string>", "refresh=<bool>", NULL };

static const struct byre_object_kind kinds[] = {
    { "authz-list", list_properties, "rules", add_list },
    { "authz-list-file", file_properties, NULL, add_list_file },
    { "authz-simple", simple_properties, NULL, add_simple },
    { "tls-creds-anon", anon_properties, NULL, add_anon },
    { "tls-creds-psk", psk_properties, NULL, add_psk },
    { "tls-creds-x509", x509_properties, NULL, add_x509 },
};

void byre_nbd_objects_know(void)
{
    byre_objects_know(kinds, ARRAY_LEN(kinds));
}

void byre_nbd_objects_done(void)
{
    for (size_t i = 0; i < objects.len; i++) {
        byre_nbd_creds_free(objects.ptr[i].creds);
        byre_nbd_authz_free(objects.ptr[i].authz);
        free(objects.ptr[i].client.certificates);
        free(objects.ptr[i].client.psk_file);
        free(objects.ptr[i].client.username);
        free(objects.ptr[i].id);
    }
    vec_done(&objects);
}

/* --- choosing ---------------------------------------------------------------------------------------------- */

static const struct named *find(const char *id)
{
    for (size_t i = 0; i < objects.len; i++) {
        if (strcmp(objects.ptr[i].id, id) == 0)
            return &objects.ptr[i];
    }
    return NULL;
}

static bool is_secret(const char *id)
{
    const char *text;
    struct byre_error err = BYRE_ERROR_INIT;

    return byre_secrets_text(byre_objects_secrets(), id, &text, &err) != -ENOENT;
}

static bool is_client(const struct named *named)
{
    return named->client.certificates || named->client.psk_file;
}

static int choose_creds(struct byre_nbd_tls_choice *choice, bool listing)
{
    const struct named *named = find(choice->creds_id);

    if (!named && !is_secret(choice->creds_id))
        return byre_complain("Failed to get TLS creds: No TLS credentials with id '%s'", choice->creds_id);
    if (!named || !named->is_creds)
        return byre_complain("Failed to get TLS creds: Object with id '%s' is not TLS credentials", choice->creds_id);
    if (listing ? !is_client(named) : !named->creds)
        return byre_complain("Failed to get TLS creds: Expected TLS credentials for a %s endpoint",
                             listing ? "client" : "server");
    choice->client = listing ? &named->client : NULL;
    choice->creds = named->creds;
    return 0;
}

static int choose_authz(struct byre_nbd_tls_choice *choice)
{
    const struct named *named = find(choice->authz_id);

    if (!named && !is_secret(choice->authz_id))
        return byre_complain("Failed to get TLS authorization: No object with id '%s'", choice->authz_id);
    if (!named || !named->authz)
        return byre_complain("Failed to get TLS authorization: Object with id '%s' is not for authorization",
                             choice->authz_id);
    if (!byre_nbd_creds_identify(choice->creds))
        return byre_complain("--tls-authz is not permitted with credentials by which clients do not say who they are");
    choice->authz = named->authz;
    return 0;
}

static int choose_mode(struct byre_nbd_tls_choice *choice)
{
    if (choice->mode && strcmp(choice->mode, "require") != 0 && strcmp(choice->mode, "allow") != 0)
        return byre_complain("Invalid TLS mode '%s'", choice->mode);
    choice->tls = choice->mode && strcmp(choice->mode, "allow") == 0 ? BYRE_NBD_TLS_ALLOWED : BYRE_NBD_TLS_REQUIRED;
    return 0;
}

/* Of --tls-hostname and other options that are for one side alone. */
static int check_side(const struct byre_nbd_tls_choice *choice, bool listing, const char *host)
{
    if (listing && choice->hostname && (!host || strcmp(choice->hostname, host) != 0))
        return byre_complain("--tls-hostname: libnbd wants the certificate to be that of -b's host, of no other one");
    if (listing && (choice->authz_id || choice->mode))
        return byre_complain("%s is for a server, and not for listing", choice->authz_id ? "--tls-authz" : "--tls");
    if (choice->hostname && !listing)
        return byre_complain("TLS hostname is only supported with export list");
    return 0;
}

int byre_nbd_tls_choose(struct byre_nbd_tls_choice *choice, bool listing, const char *host)
{
    const char *alone = choice->hostname ? "--tls-hostname" : choice->authz_id ? "--tls-authz"
                        : choice->mode ? "--tls" : NULL;

    choice->tls = BYRE_NBD_TLS_OFF;
    if (!choice->creds_id && alone) {
        byre_complain("%s is not permitted without --tls-creds", alone);
        return -1;
    }
    if (!choice->creds_id)
        return 0;
    if (check_side(choice, listing, host) != 0 || choose_creds(choice, listing) != 0 || choose_mode(choice) != 0 ||
        (choice->authz_id && choose_authz(choice) != 0))
        return -1;
    return 0;
}
