/* What the enclave serves: documents of its security module, and an echo. One request a connection. */
#define _GNU_SOURCE
#include "guest.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#define HEAD_MOST 8192
#define BODY_MOST (64u << 20)

struct request {
	char head[HEAD_MOST + 1];
	char *path;
	size_t begun; /* bytes of the body that came with the head */
	const char *body;
	int posts;
};

void start(void (*run)(int), int fd)
{
	if (fd >= 0 && fork() == 0) {
		run(fd);
		_exit(0);
	}
}

static void serve(int listener, void (*answer)(int))
{
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		if (fd < 0)
			continue;
		if (fork() == 0) {
			close(listener);
			answer(fd);
			_exit(0);
		}
		close(fd);
	}
}

static void respond(int fd, const char *status, const char *kind, const void *body, size_t length)
{
	char head[256];
	int size = snprintf(head, sizeof head,
		"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
		status, kind, length);

	if (send_all(fd, head, (size_t)size) == 0)
		send_all(fd, body, length);
}

static void refuse(int fd, const char *status, const char *why)
{
	respond(fd, status, "text/plain", why, strlen(why));
}

static int read_request(int fd, struct request *asked)
{
	size_t have = 0;
	char *end = NULL;

	while (!end) {
		ssize_t got = read(fd, asked->head + have, HEAD_MOST - have);
		if (got <= 0)
			return -1;
		have += (size_t)got;
		asked->head[have] = 0;
		end = strstr(asked->head, "\r\n\r\n");
	}
	asked->body = end + 4;
	asked->begun = have - (size_t)(asked->body - asked->head);
	asked->posts = !strncmp(asked->head, "POST ", 5);
	end[2] = 0;
	asked->path = strchr(asked->head, ' ');
	if (!asked->path)
		return -1;
	asked->path++;
	return 0;
}

/* The request line's path ends here; headers are still readable behind it. */
static char *rest_of_line(char *path)
{
	char *end = path + strcspn(path, " \r\n");
	char *rest = *end ? end + 1 : end;

	*end = 0;
	return rest;
}

static int hex(const char *text, size_t length, struct octets *into)
{
	if (length % 2 || length / 2 > sizeof into->bytes)
		return -1;
	for (size_t i = 0; i < length; i += 2) {
		char pair[3] = {text[i], text[i + 1], 0};
		if (!isxdigit((unsigned char)pair[0]) || !isxdigit((unsigned char)pair[1]))
			return -1;
		into->bytes[i / 2] = (uint8_t)strtoul(pair, NULL, 16);
	}
	into->present = 1;
	into->length = length / 2;
	return 0;
}

static int parse_query(char *query, struct question *asked)
{
	struct {
		const char *name;
		struct octets *into;
	} fields[] = {
		{"nonce=", &asked->nonce},
		{"user_data=", &asked->user_data},
		{"public_key=", &asked->public_key},
	};

	for (char *one = strtok(query, "&"); one; one = strtok(NULL, "&")) {
		int known = 0;
		for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
			size_t length = strlen(fields[i].name);
			if (strncmp(one, fields[i].name, length))
				continue;
			known = 1;
			if (hex(one + length, strlen(one + length), fields[i].into))
				return -1;
		}
		if (!known)
			return -1;
	}
	return 0;
}

static void answer_attestation(int fd)
{
	static struct request request;
	static struct question asked;
	static uint8_t document[NSM_MOST];
	char why[256] = "", text[2 * NSM_MOST + 1];

	if (read_request(fd, &request))
		return;
	rest_of_line(request.path);
	char *query = strchr(request.path, '?');
	if (query)
		*query++ = 0;
	int raw = !strcmp(request.path, "/attestation/raw");
	if (!raw && strcmp(request.path, "/attestation/hex")) {
		refuse(fd, "404 Not Found", "not served here\n");
		return;
	}
	if (query && parse_query(query, &asked)) {
		refuse(fd, "400 Bad Request", "nonce, user_data and public_key, in hex\n");
		return;
	}
	int length = nsm_attest(&asked, document, why, sizeof why);
	if (length >= 0 && (length = have_signed(document, length)) < 0)
		snprintf(why, sizeof why, "nobody signs\n");
	if (length < 0) {
		refuse(fd, "500 Internal Server Error", why);
		return;
	}
	if (raw) {
		respond(fd, "200 OK", "application/octet-stream", document, (size_t)length);
		return;
	}
	for (int i = 0; i < length; i++)
		sprintf(text + 2 * i, "%02x", document[i]);
	respond(fd, "200 OK", "text/plain", text, 2 * (size_t)length);
}

static size_t content_length(const char *headers)
{
	static const char name[] = "\ncontent-length:";

	for (const char *at = headers; *at; at++)
		if (!strncasecmp(at, name, sizeof name - 1))
			return strtoul(at + sizeof name - 1, NULL, 10);
	return 0;
}

static void answer_post(int fd, struct request *request, const char *headers)
{
	size_t length = content_length(headers), have = request->begun;
	char *body = length <= BODY_MOST ? malloc(length + HEAD_MOST) : NULL;

	if (!body) {
		refuse(fd, "413 Content Too Large", "too much to give back\n");
		return;
	}
	memcpy(body, request->body, have);
	while (have < length) {
		ssize_t got = read(fd, body + have, length - have);
		if (got <= 0)
			return;
		have += (size_t)got;
	}
	respond(fd, "200 OK", "text/plain", body, length);
}

static void answer_echo(int fd)
{
	static struct request request;
	struct utsname kernel;
	char said[HEAD_MOST + 512];

	if (read_request(fd, &request))
		return;
	const char *headers = rest_of_line(request.path);
	if (request.posts) {
		answer_post(fd, &request, headers);
		return;
	}
	for (char *at = request.path; *at; at++) /* what would need escapes in JSON is not said */
		if (*at == '"' || *at == '\\' || !isprint((unsigned char)*at))
			*at = '?';
	uname(&kernel);
	int length = snprintf(said, sizeof said,
		"{\"simulated\": true, \"kernel\": \"%s\", \"path\": \"%s\"}", kernel.release, request.path);
	respond(fd, "200 OK", "application/json", said, (size_t)length);
}

void serve_attestation(int listener)
{
	serve(listener, answer_attestation);
}

void serve_echo(int listener)
{
	serve(listener, answer_echo);
}
