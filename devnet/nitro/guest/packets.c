/*
 * The network of a standard image: a TUN device whose packets leave on a vsock connection to 3:1200 and
 * come on one that the host makes to 1200. While there is no stream packets wait in the device's queue, and
 * those beyond it are lost, as on any wire.
 */
#define _GNU_SOURCE
#include "guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/if_tun.h>

#define STREAM_PORT 1200
#define DEVICE "oyster0"
#define LEAST 20

static uint32_t own;

static int ask_link(int fd, unsigned long what, const char *name, const char *address, short flags)
{
	struct ifreq request = {0};

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (address) {
		struct sockaddr_in *to = (struct sockaddr_in *)&request.ifr_addr;
		to->sin_family = AF_INET;
		inet_pton(AF_INET, address, &to->sin_addr);
	} else {
		request.ifr_flags = flags;
	}
	return ioctl(fd, what, &request);
}

static int set_up(const char *address)
{
	struct rtentry route = {.rt_flags = RTF_UP, .rt_dev = (char *)DEVICE};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	((struct sockaddr_in *)&route.rt_dst)->sin_family = AF_INET;
	((struct sockaddr_in *)&route.rt_genmask)->sin_family = AF_INET;
	int bad = ask_link(fd, SIOCSIFFLAGS, "lo", NULL, IFF_UP | IFF_RUNNING) ||
		  ask_link(fd, SIOCSIFADDR, DEVICE, address, 0) ||
		  ask_link(fd, SIOCSIFNETMASK, DEVICE, "255.255.255.255", 0) ||
		  ask_link(fd, SIOCSIFFLAGS, DEVICE, NULL, IFF_UP | IFF_RUNNING) ||
		  ioctl(fd, SIOCADDRT, &route);
	close(fd);
	return bad;
}

static int make_device(void)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	strcpy(request.ifr_name, DEVICE);
	if (fd >= 0 && ioctl(fd, TUNSETIFF, &request))
		return -1;
	return fd;
}

static void outward(int device)
{
	static uint8_t packet[1 << 16];
	int stream = -1;

	for (;;) {
		/* Not with the first packet: a host that is too busy for it would wait for the next one. */
		while (stream < 0 && (stream = vsock_connect(parent_cid, STREAM_PORT)) < 0)
			sleep(1);
		ssize_t length = read(device, packet, sizeof packet);
		if (length > 0 && send_all(stream, packet, (size_t)length)) {
			close(stream);
			stream = -1;
		}
	}
}

/* Whole packets of the stream to the device; how many bytes are the beginning of the next. */
static size_t pass_on(int device, uint8_t *data, size_t have)
{
	size_t at = 0;

	while (have - at >= LEAST) {
		size_t length = (size_t)data[at + 2] << 8 | data[at + 3];
		if (length < LEAST || have - at < length)
			break;
		if (!memcmp(data + at + 16, &own, 4) && write(device, data + at, length) < 0)
			say("a packet could not be taken");
		at += length;
	}
	memmove(data, data + at, have - at);
	return have - at;
}

static void inward(int device)
{
	static uint8_t data[1 << 18];
	int listener = vsock_listen(STREAM_PORT);

	for (;;) {
		int stream = accept(listener, NULL, NULL);
		size_t have = 0;
		ssize_t got;
		while (stream >= 0 && (got = read(stream, data + have, sizeof data - have)) > 0)
			have = pass_on(device, data, have + (size_t)got);
		close(stream);
	}
}

void packets_start(const char *address)
{
	int device = make_device();

	inet_pton(AF_INET, address, &own);
	if (device < 0 || set_up(address)) {
		say("the device for packets can't be made");
		return;
	}
	start(outward, device);
	start(inward, device);
}
