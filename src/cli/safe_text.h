/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Text from strangers, as it can be shown on any terminal.
 */
#ifndef BYRE_CLI_SAFE_TEXT_H
#define BYRE_CLI_SAFE_TEXT_H

/*
 * A name, or a path: control characters, what is no UTF-8, and characters that turn the direction of writing become
 * escapes as C has them, a backslash two.  `ret_columns`, which may be NULL, is how many places it takes.  To be freed.
 */
char *byre_safe_text(const char *text, unsigned *ret_columns);

/*
 * A whole message, names and all: likewise, but newlines stay, for messages have lines of advice, and backslashes, for
 * a name may have been made safe before.  To be freed; NULL: memory is short.
 */
char *byre_safe_message(const char *text);

#endif
