/* The security module through the kernel's own driver: linux/nsm.h, one CBOR question and one answer. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REQUEST_MOST 0x1000

/* From linux/nsm.h (6.8): older headers do not have it. */
struct nsm_iovec {
	uint64_t address, length;
};
struct nsm_raw {
	struct nsm_iovec request, response;
};
#define NSM_IOCTL_RAW _IOWR(0x0A, 0x0, struct nsm_raw)

enum { UNSIGNED = 0, BYTES = 2, TEXT = 3, MAP = 5, SIMPLE = 7, NONE = 22 };

struct writer {
	uint8_t bytes[REQUEST_MOST];
	size_t length;
};

/* RFC 8949, section 3, shortest form; lengths here are below 65536. */
static void put_head(struct writer *to, unsigned kind, unsigned value)
{
	if (value < 24) {
		to->bytes[to->length++] = (uint8_t)(kind << 5 | value);
	} else if (value < 256) {
		to->bytes[to->length++] = (uint8_t)(kind << 5 | 24);
		to->bytes[to->length++] = (uint8_t)value;
	} else {
		to->bytes[to->length++] = (uint8_t)(kind << 5 | 25);
		to->bytes[to->length++] = (uint8_t)(value >> 8);
		to->bytes[to->length++] = (uint8_t)value;
	}
}

static void put(struct writer *to, unsigned kind, const void *data, size_t length)
{
	put_head(to, kind, (unsigned)length);
	memcpy(to->bytes + to->length, data, length);
	to->length += length;
}

static void put_text(struct writer *to, const char *text)
{
	put(to, TEXT, text, strlen(text));
}

static void put_octets(struct writer *to, const char *name, const struct octets *value)
{
	put_text(to, name);
	if (value->present)
		put(to, BYTES, value->bytes, value->length);
	else
		put_head(to, SIMPLE, NONE);
}

/* Kind and value of the item at `at`; 0 when it is none of what the card writes. */
static const uint8_t *take(const uint8_t *at, const uint8_t *end, unsigned *kind, size_t *value)
{
	if (at >= end)
		return NULL;
	*kind = *at >> 5;
	*value = *at++ & 31;
	if (*value < 24)
		return at;
	size_t extra = (size_t)1 << (*value - 24);
	if (*value > 26 || extra > (size_t)(end - at))
		return NULL;
	for (*value = 0; extra; extra--)
		*value = *value << 8 | *at++;
	return at;
}

static int ask(const struct writer *request, uint8_t *answer)
{
	struct nsm_raw raw = {
		{(uint64_t)(uintptr_t)request->bytes, request->length},
		{(uint64_t)(uintptr_t)answer, NSM_MOST},
	};
	int fd = open("/dev/nsm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -1;
	int bad = ioctl(fd, NSM_IOCTL_RAW, &raw);
	close(fd);
	return bad ? -1 : (int)raw.response.length;
}

/* {"Attestation": {"document": bytes}} */
static int document_of(const uint8_t *at, const uint8_t *end, uint8_t *document)
{
	static const char *names[] = {"Attestation", "document"};
	unsigned kind;
	size_t value;

	for (int depth = 0; depth < 2; depth++) {
		at = take(at, end, &kind, &value);
		if (!at || kind != MAP || value != 1)
			return -1;
		at = take(at, end, &kind, &value);
		if (!at || kind != TEXT || value > (size_t)(end - at) ||
		    value != strlen(names[depth]) || memcmp(at, names[depth], value))
			return -1;
		at += value;
	}
	at = take(at, end, &kind, &value);
	if (!at || kind != BYTES || value > (size_t)(end - at))
		return -1;
	memcpy(document, at, value);
	return (int)value;
}

int nsm_attest(const struct question *asked, uint8_t *document, char *why, size_t why_size)
{
	struct writer request = {.length = 0};
	uint8_t answer[NSM_MOST];

	put_head(&request, MAP, 1);
	put_text(&request, "Attestation");
	put_head(&request, MAP, 3);
	put_octets(&request, "user_data", &asked->user_data);
	put_octets(&request, "nonce", &asked->nonce);
	put_octets(&request, "public_key", &asked->public_key);
	int length = ask(&request, answer);
	if (length < 0) {
		snprintf(why, why_size, "/dev/nsm: %s", strerror(errno));
		return -1;
	}
	int found = document_of(answer, answer + length, document);
	if (found < 0)
		snprintf(why, why_size, "the module answers with no document");
	return found;
}

static int ask_done(const struct writer *request)
{
	uint8_t answer[NSM_MOST];
	int length = ask(request, answer);

	/* {"Error": "..."}; anything else is what was asked for. */
	return length < 0 || (length > 7 && !memcmp(answer + 1, "\x65" "Error", 6)) ? -1 : 0;
}

int nsm_extend_and_lock(unsigned index, const uint8_t *data, size_t length)
{
	struct writer extend = {.length = 0}, lock = {.length = 0};

	put_head(&extend, MAP, 1);
	put_text(&extend, "ExtendPCR");
	put_head(&extend, MAP, 2);
	put_text(&extend, "index");
	put_head(&extend, UNSIGNED, index);
	put_text(&extend, "data");
	put(&extend, BYTES, data, length);
	put_head(&lock, MAP, 1);
	put_text(&lock, "LockPCR");
	put_head(&lock, MAP, 1);
	put_text(&lock, "index");
	put_head(&lock, UNSIGNED, index);
	return ask_done(&extend) || ask_done(&lock) ? -1 : 0;
}
