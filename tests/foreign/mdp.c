// Majordomo 0.1 (ZeroMQ RFC 7) on CZMQ, with the timing of the guide's programs; built with -lczmq.
//
//     mdp worker ENDPOINT SERVICE          answers each request with its frames in capitals
//     mdp client ENDPOINT SERVICE COUNT    asks so many times, one after the other; first whether the service is there
//     mdp burst ENDPOINT SERVICE COUNT     asks so many times before it reads the first answer
#include <czmq.h>

#define INTERVAL 2500 // milliseconds, between heartbeats
#define LIVENESS 3    // intervals without a message after which the broker counts as gone

static void give_up(const char *what, int number) {
    fprintf(stderr, "%s %d\n", what, number);
    exit(1);
}

static void expect(zmsg_t *message, const char *frame) {
    char *text = zmsg_popstr(message);
    if (!text || !streq(text, frame))
        give_up("an unexpected frame instead of one of length", (int) strlen(frame));
    free(text);
}

static zsock_t *registered(const char *endpoint, const char *service) {
    zsock_t *socket = zsock_new_dealer(endpoint);
    zstr_sendx(socket, "", "MDPW01", "\001", service, NULL);
    return socket;
}

static void capitals(zmsg_t *message) {
    zmsg_first(message); // the client's address and an empty frame come first
    zmsg_next(message);
    for (zframe_t *frame = zmsg_next(message); frame; frame = zmsg_next(message))
        for (size_t at = 0; at < zframe_size(frame); at++)
            zframe_data(frame)[at] = (byte) toupper(zframe_data(frame)[at]);
}

static void work(const char *endpoint, const char *service) {
    zsock_t *socket = registered(endpoint, service);
    int alive = LIVENESS;
    int64_t next_heartbeat = zclock_mono() + INTERVAL;
    while (true) {
        zsock_set_rcvtimeo(socket, INTERVAL);
        zmsg_t *message = zmsg_recv(socket);
        bool is_over = !message && --alive == 0;
        if (message) {
            alive = LIVENESS;
            expect(message, "");
            expect(message, "MDPW01");
            char *command = zmsg_popstr(message);
            if (*command == 2) {
                capitals(message);
                zmsg_pushstr(message, "\003");
                zmsg_pushstr(message, "MDPW01");
                zmsg_pushstr(message, "");
                zmsg_send(&message, socket);
            }
            is_over = *command == 5;
            free(command);
            zmsg_destroy(&message);
        }
        if (is_over) {
            zsock_destroy(&socket);
            socket = registered(endpoint, service);
            alive = LIVENESS;
        }
        if (zclock_mono() > next_heartbeat) {
            zstr_sendx(socket, "", "MDPW01", "\004", NULL);
            next_heartbeat = zclock_mono() + INTERVAL;
        }
    }
}

static void ask(const char *endpoint, const char *service, const char *body, const char *answer) {
    for (int attempt = 0; attempt < 3; attempt++) {
        zsock_t *socket = zsock_new_req(endpoint);
        zsock_set_rcvtimeo(socket, INTERVAL);
        zstr_sendx(socket, "MDPC01", service, body, NULL);
        zmsg_t *reply = zmsg_recv(socket);
        zsock_destroy(&socket);
        if (reply) {
            expect(reply, "MDPC01");
            expect(reply, service);
            expect(reply, answer);
            zmsg_destroy(&reply);
            return;
        }
    }
    give_up("no answer after attempts:", 3);
}

static void burst(const char *endpoint, const char *service, int count) {
    zsock_t *socket = zsock_new_dealer(endpoint);
    bool *is_answered = calloc((size_t) count, sizeof(bool));
    for (int number = 0; number < count; number++) {
        char body[16];
        snprintf(body, sizeof body, "%d", number);
        zstr_sendx(socket, "", "MDPC01", service, body, NULL);
    }
    zsock_set_rcvtimeo(socket, 60000);
    for (int left = count; left > 0; left--) {
        zmsg_t *reply = zmsg_recv(socket);
        if (!reply)
            give_up("requests without an answer:", left);
        expect(reply, "");
        expect(reply, "MDPC01");
        expect(reply, service);
        char *body = zmsg_popstr(reply);
        int number = atoi(body);
        if (number < 0 || number >= count || is_answered[number])
            give_up("a second answer, or one to no request:", number);
        is_answered[number] = true;
        free(body);
        zmsg_destroy(&reply);
    }
    free(is_answered);
    zsock_destroy(&socket);
}

int main(int count, char **words) {
    const char *role = words[1], *endpoint = words[2], *service = words[3];
    int requests = count > 4 ? atoi(words[4]) : 0;
    if (streq(role, "worker"))
        work(endpoint, service);
    else if (streq(role, "burst"))
        burst(endpoint, service, requests);
    else {
        ask(endpoint, "mmi.service", service, "200");
        for (int number = 0; number < requests; number++)
            ask(endpoint, service, "request", "REQUEST");
    }
    printf("%d answers\n", requests);
    return 0;
}
