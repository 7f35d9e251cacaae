/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The user's end of the guest's serial console: standard input and output,
 * a terminal in raw mode with an escape key, or pipes and files in a script.
 */
#ifndef VMMD_CONSOLE_H
#define VMMD_CONSOLE_H

#include <stddef.h>
#include <stdint.h>

#define CONSOLE_ESCAPE	0x1d	/* Ctrl-] */

enum console_event {
	CONSOLE_NOTHING,
	CONSOLE_QUIT,
	CONSOLE_RESET,
};

/* The escape key's state; pure, so that it can be tested. */
struct console_escape {
	int seen;		/* the escape key was the last one */
};

/*
 * Take escapes out of the @len bytes at @buf, in place.  *@left is how many
 * bytes are for the guest; those after a command are dropped.  *@help is set
 * when the user needs the list of commands.
 */
enum console_event console_filter(struct console_escape *e, uint8_t *buf, size_t len,
				  size_t *left, int *help);

/*
 * Take over standard input and output, and start the thread that writes.
 * @log_path, or NULL: a file that gets the guest's output too.  The terminal is
 * put back on every way out of the process that a process can see.
 * 0, or -1 with @err.
 */
int console_start(const char *log_path, char *err, size_t errlen);

/* The guest's output, from any thread.  Waits briefly when the reader is slow, then drops. */
void console_put(const void *buf, size_t len);

/* Descriptor to poll for input, or -1 after its end. */
int console_input_fd(void);

/* Read input, at most @max bytes, into @buf; *@len are for the guest. */
enum console_event console_read(uint8_t *buf, size_t max, size_t *len);

/* Write what is left, for at most two seconds, and put the terminal back. */
void console_stop(void);

/* A line of the program's own, on standard error, that looks right on a raw terminal too. */
void console_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif /* VMMD_CONSOLE_H */
