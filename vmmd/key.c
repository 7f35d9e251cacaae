// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The cluster key's file: see key.h.  It is one line, the version word and 64
 * hexadecimal digits, so that it survives being copied by hand.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmmd/key.h"

#define WORD		"cvmm-key-1 "
#define TEXT_LEN	(sizeof(WORD) - 1 + 2 * KEY_SIZE)

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static int parse(const char *text, size_t len, struct cluster_key *key)
{
	size_t i;
	int hi, lo;

	if (len == TEXT_LEN + 1 && text[TEXT_LEN] == '\n')
		len--;
	if (len != TEXT_LEN || memcmp(text, WORD, sizeof(WORD) - 1))
		return -1;
	text += sizeof(WORD) - 1;
	for (i = 0; i < KEY_SIZE; i++) {
		hi = hex_digit(text[2 * i]);
		lo = hex_digit(text[2 * i + 1]);
		if (hi < 0 || lo < 0)
			return -1;
		key->bytes[i] = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}

int key_load(const char *path, struct cluster_key *key, char *err, size_t errlen)
{
	char text[TEXT_LEN + 2];
	struct stat st;
	ssize_t n;
	int fd, ret = -1;

	/* Not to hang on a FIFO. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		snprintf(err, errlen, "the cluster key %s: %s%s", path, strerror(errno),
			 errno == ENOENT ? "; make one with cvmm keygen on one host and copy it to the others" : "");
		return -1;
	}
	if (fstat(fd, &st)) {
		snprintf(err, errlen, "the cluster key %s: %s", path, strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		snprintf(err, errlen, "the cluster key %s is not a regular file", path);
	} else if (st.st_uid && st.st_uid != geteuid()) {
		snprintf(err, errlen, "the cluster key %s belongs to another user (%u): chown it", path,
			 (unsigned int)st.st_uid);
	} else if (st.st_mode & 077) {
		snprintf(err, errlen, "the cluster key %s can be used by others (mode %03o): chmod 600 it", path,
			 (unsigned int)st.st_mode & 0777);
	} else {
		n = read(fd, text, sizeof(text));
		ret = n > 0 ? parse(text, (size_t)n, key) : -1;
		explicit_bzero(text, sizeof(text));
		if (ret)
			snprintf(err, errlen, "%s holds no cluster key: make one with cvmm keygen", path);
	}
	close(fd);
	return ret;
}

/* The file's name counts once its directory is on disk. */
static int sync_dir(const char *dir)
{
	int fd, ret;

	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ret = fsync(fd);
	close(fd);
	return ret;
}

int key_create(const char *path, char *err, size_t errlen)
{
	char text[TEXT_LEN + 2], *copy, *dir;
	uint8_t bytes[KEY_SIZE];
	size_t i, len = TEXT_LEN + 1;
	int fd, ret = -1;

	copy = strdup(path);
	if (!copy) {
		snprintf(err, errlen, "out of memory");
		return -1;
	}
	dir = dirname(copy);
	if (mkdir(dir, 0755) && errno != EEXIST) {
		snprintf(err, errlen, "%s: %s", dir, strerror(errno));
		goto free_copy;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		snprintf(err, errlen, "%s: %s%s", path, strerror(errno),
			 errno == EEXIST ? "; remove it first if no host needs it any more" : "");
		goto free_copy;
	}
	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		goto remove_file;
	strcpy(text, WORD);
	for (i = 0; i < KEY_SIZE; i++)
		sprintf(text + sizeof(WORD) - 1 + 2 * i, "%02x", bytes[i]);
	strcpy(text + TEXT_LEN, "\n");
	if (fchmod(fd, 0600) || write(fd, text, len) != (ssize_t)len || fsync(fd) || sync_dir(dir))
		goto remove_file;
	ret = 0;
remove_file:
	if (ret) {
		snprintf(err, errlen, "%s: %s", path, strerror(errno));
		unlink(path);
	}
	explicit_bzero(bytes, sizeof(bytes));
	explicit_bzero(text, sizeof(text));
	close(fd);
free_copy:
	free(copy);
	return ret;
}
