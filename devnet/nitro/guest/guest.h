/* The init of an image of `devnet image build --boot qemu`: what its parts offer each other. */
#ifndef OYSTER_GUEST_H
#define OYSTER_GUEST_H

#include <stddef.h>
#include <stdint.h>

#define NSM_MOST 0x3000 /* NSM_RESPONSE_MAX_SIZE of linux/nsm.h */

/* Bytes that may be absent, which is not the same as none. */
struct octets {
	int present;
	size_t length;
	uint8_t bytes[1024];
};

struct question {
	struct octets nonce, user_data, public_key;
};

/* nsm.c: /dev/nsm. Length of the document, or -1 with a reason of the card's or the driver's in `why`. */
int nsm_attest(const struct question *asked, uint8_t *document, char *why, size_t why_size);
int nsm_extend_and_lock(unsigned index, const uint8_t *data, size_t length);

/* wires.c: sockets, and one HTTP request to who is behind a socket. */
extern unsigned parent_cid, signer_port;
unsigned own_cid(void);
int vsock_listen(unsigned port);
int vsock_connect(unsigned cid, unsigned port);
int tcp_listen(unsigned port);
int send_all(int fd, const void *data, size_t length);
int have_signed(uint8_t *document, int length);
int http_get(unsigned port, const char *path, uint8_t *body, size_t most);

/* http.c: serves for ever, a process a connection. */
void serve_attestation(int listener);
void serve_echo(int listener);
void start(void (*run)(int), int fd);

/* packets.c: the device of a standard image and both of its streams. */
void packets_start(const char *address);

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
