// Majordomo 0.1 (ZeroMQ RFC 7) on libzmq alone, with the timing of the guide's programs; built with -lzmq.
//
//     mdp worker ENDPOINT SERVICE          answers each request with its frames in capitals
//     mdp client ENDPOINT SERVICE COUNT    asks so many times, one after the other; first whether the service is there
//     mdp burst ENDPOINT SERVICE COUNT     asks so many times before it reads the first answer
#include <cctype>
#include <chrono>
#include <iostream>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>
#include <zmq.h>

using Frames = std::vector<std::string>;
using Clock = std::chrono::steady_clock;

const int interval = 2500; // milliseconds, between heartbeats
const int liveness = 3;    // intervals without a message after which the broker counts as gone

class Socket {
    static inline void *const context = zmq_ctx_new();
    void *socket;

public:
    Socket(int type, const std::string &endpoint) : socket(zmq_socket(context, type)) {
        const int linger = 0;
        zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
        if (zmq_connect(socket, endpoint.c_str()) != 0)
            throw std::runtime_error("it cannot connect to " + endpoint);
    }
    Socket(const Socket &) = delete;
    ~Socket() { zmq_close(socket); }

    void send(const Frames &frames) {
        for (size_t at = 0; at < frames.size(); at++)
            if (zmq_send(socket, frames[at].data(), frames[at].size(), at + 1 < frames.size() ? ZMQ_SNDMORE : 0) < 0)
                throw std::runtime_error(zmq_strerror(zmq_errno()));
    }

    bool has_message(int milliseconds) {
        zmq_pollitem_t item{socket, 0, ZMQ_POLLIN, 0};
        return zmq_poll(&item, 1, milliseconds) > 0;
    }

    Frames receive() {
        Frames frames;
        int more = 1;
        while (more) {
            zmq_msg_t frame;
            zmq_msg_init(&frame);
            if (zmq_msg_recv(&frame, socket, 0) < 0)
                throw std::runtime_error(zmq_strerror(zmq_errno()));
            frames.emplace_back(static_cast<char *>(zmq_msg_data(&frame)), zmq_msg_size(&frame));
            more = zmq_msg_more(&frame);
            zmq_msg_close(&frame);
        }
        return frames;
    }
};

void expect(bool is_so, const std::string &what) {
    if (!is_so)
        throw std::runtime_error(what);
}

// Serves until the broker sends DISCONNECT or counts as gone.
void serve(const std::string &endpoint, const std::string &service) {
    Socket socket(ZMQ_DEALER, endpoint);
    socket.send({"", "MDPW01", "\1", service});
    auto next_heartbeat = Clock::now() + std::chrono::milliseconds(interval);
    for (int alive = liveness; alive > 0;) {
        if (socket.has_message(interval)) {
            alive = liveness;
            Frames frames = socket.receive();
            expect(frames.size() > 2 && frames[0].empty() && frames[1] == "MDPW01", "a message of another protocol");
            if (frames[2] == "\5")
                return;
            if (frames[2] == "\2") {
                frames[2] = "\3";
                for (size_t at = 5; at < frames.size(); at++)
                    for (char &letter : frames[at])
                        letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
                socket.send(frames);
            }
        } else
            alive--;
        if (Clock::now() > next_heartbeat) {
            socket.send({"", "MDPW01", "\4"});
            next_heartbeat = Clock::now() + std::chrono::milliseconds(interval);
        }
    }
}

void ask(const std::string &endpoint, const std::string &service, const std::string &body, const std::string &answer) {
    for (int attempt = 0; attempt < 3; attempt++) {
        Socket socket(ZMQ_REQ, endpoint);
        socket.send({"MDPC01", service, body});
        if (socket.has_message(interval)) {
            expect(socket.receive() == Frames{"MDPC01", service, answer}, "another reply than " + answer);
            return;
        }
    }
    throw std::runtime_error("no answer after three attempts");
}

void burst(const std::string &endpoint, const std::string &service, int count) {
    Socket socket(ZMQ_DEALER, endpoint);
    std::set<std::string> open;
    for (int number = 0; number < count; number++) {
        socket.send({"", "MDPC01", service, std::to_string(number)});
        open.insert(std::to_string(number));
    }
    while (!open.empty()) {
        expect(socket.has_message(60000), std::to_string(open.size()) + " requests without an answer");
        const Frames reply = socket.receive();
        expect(reply.size() == 4 && reply[1] == "MDPC01" && reply[2] == service, "a reply of another form");
        expect(open.erase(reply[3]) == 1, "a second answer, or one to no request");
    }
}

int main(int count, char **words) try {
    const std::string role = words[1], endpoint = words[2], service = words[3];
    const int requests = count > 4 ? std::stoi(words[4]) : 0;
    while (role == "worker")
        serve(endpoint, service);
    if (role == "burst")
        burst(endpoint, service, requests);
    else {
        ask(endpoint, "mmi.service", service, "200");
        for (int number = 0; number < requests; number++)
            ask(endpoint, service, "request", "REQUEST");
    }
    std::cout << requests << " answers" << std::endl;
} catch (const std::exception &failure) {
    std::cerr << failure.what() << std::endl;
    return 1;
}
