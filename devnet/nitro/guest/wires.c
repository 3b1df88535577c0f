/* Sockets of both kinds, and one HTTP question to the parent. */
#define _GNU_SOURCE
#include "guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#define BACKLOG 128
/* Longer writes become packets of several descriptors, which vhost-device-vsock 0.3 loses (seen: a body of
 * 50,000 bytes never arrived). The wire is a stream: how it is cut says nothing to who reads it. */
#define WRITE_MOST 16384
/* What the peer may send before it waits for word that room was made, for which that device waits for ever
 * (vhost-device issue 494). Linux's own is 256 KiB. */
#define BUFFER_BYTES (64ull << 20)

unsigned parent_cid = 3; /* Nitro Enclaves User Guide, vsock */
unsigned signer_port;	  /* 0: the security module signs by itself, as real ones do */

unsigned own_cid(void)
{
	unsigned cid = 0;
	int fd = open("/dev/vsock", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid))
			cid = 0;
		close(fd);
	}
	return cid;
}

static int listening(int fd, const void *address, socklen_t length)
{
	if (fd < 0 || bind(fd, address, length) || listen(fd, BACKLOG)) {
		say("a port can't be listened on");
		return -1;
	}
	return fd;
}

/* Connections take it over from who listens. */
static int vsock(void)
{
	uint64_t size = BUFFER_BYTES;
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &size, sizeof size);
	setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &size, sizeof size);
	return fd;
}

int vsock_listen(unsigned port)
{
	struct sockaddr_vm here = {
		.svm_family = AF_VSOCK, .svm_port = port, .svm_cid = VMADDR_CID_ANY};

	return listening(vsock(), &here, sizeof here);
}

int tcp_listen(unsigned port)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	return listening(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), &here, sizeof here);
}

int vsock_connect(unsigned cid, unsigned port)
{
	struct sockaddr_vm there = {.svm_family = AF_VSOCK, .svm_port = port, .svm_cid = cid};
	int fd = vsock();

	if (fd >= 0 && connect(fd, (struct sockaddr *)&there, sizeof there)) {
		close(fd);
		return -1;
	}
	return fd;
}

int send_all(int fd, const void *data, size_t length)
{
	const uint8_t *at = data;

	while (length) {
		ssize_t sent = write(fd, at, length < WRITE_MOST ? length : WRITE_MOST);
		if (sent <= 0)
			return -1;
		at += sent;
		length -= (size_t)sent;
	}
	return 0;
}

static int receive_all(int fd, void *data, size_t length)
{
	uint8_t *at = data;

	while (length) {
		ssize_t got = read(fd, at, length);
		if (got <= 0)
			return -1;
		at += got;
		length -= (size_t)got;
	}
	return 0;
}

/* QEMU's module leaves the signature blank; who emulates it puts one in, where the command line says so.
 * Four bytes of length and the document, both ways. The new length, or -1. */
int have_signed(uint8_t *document, int length)
{
	uint32_t size = htonl((uint32_t)length);

	if (!signer_port)
		return length;
	int fd = vsock_connect(parent_cid, signer_port);
	int bad = fd < 0 || send_all(fd, &size, 4) || send_all(fd, document, (size_t)length) ||
		  receive_all(fd, &size, 4) || ntohl(size) > NSM_MOST ||
		  receive_all(fd, document, ntohl(size));
	close(fd);
	return bad ? -1 : (int)ntohl(size);
}

/* Length of the body of a 200, to its end; -1 for anything else. */
int http_get(unsigned port, const char *path, uint8_t *body, size_t most)
{
	static char answer[1 << 17];
	char request[256];
	size_t have = 0;
	ssize_t got;
	int fd = vsock_connect(parent_cid, port);

	if (fd < 0)
		return -1;
	int length = snprintf(request, sizeof request,
		"GET %s HTTP/1.1\r\nHost: parent\r\nConnection: close\r\n\r\n", path);
	if (send_all(fd, request, (size_t)length) == 0)
		while (have < sizeof answer - 1 && (got = read(fd, answer + have, sizeof answer - 1 - have)) > 0)
			have += (size_t)got;
	close(fd);
	answer[have] = 0;
	char *split = strstr(answer, "\r\n\r\n");
	if (!split || strncmp(answer, "HTTP/1.1 200", 12))
		return -1;
	size_t size = have - (size_t)(split + 4 - answer);
	if (size > most)
		return -1;
	memcpy(body, split + 4, size);
	return (int)size;
}
