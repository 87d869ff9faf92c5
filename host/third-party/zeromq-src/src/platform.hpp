/* What libzmq's own build finds on Linux. */
#if defined __linux__
#include <string.h>
#define ZMQ_HAVE_EVENTFD
#define ZMQ_HAVE_EVENTFD_CLOEXEC
#define ZMQ_IOTHREAD_POLLER_USE_EPOLL_CLOEXEC
#define ZMQ_HAVE_O_CLOEXEC
#define ZMQ_HAVE_SOCK_CLOEXEC
#define HAVE_ACCEPT4
#define ZMQ_HAVE_SO_PEERCRED
#define ZMQ_HAVE_SO_KEEPALIVE
#define ZMQ_HAVE_TCP_KEEPCNT
#define ZMQ_HAVE_TCP_KEEPIDLE
#define ZMQ_HAVE_TCP_KEEPINTVL
#define ZMQ_HAVE_NOEXCEPT
/* musl has strlcpy, glibc since 2.38. */
#if !defined __GLIBC__
#define ZMQ_HAVE_STRLCPY
#elif __GLIBC_PREREQ(2, 38)
#define ZMQ_HAVE_STRLCPY
#endif
#endif
