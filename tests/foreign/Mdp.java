// Majordomo 0.1 (ZeroMQ RFC 7) on JeroMQ, which is ZeroMQ written anew in Java, with the timing of the guide's programs.
//
//     Mdp worker ENDPOINT SERVICE          answers each request with its frames in capitals
//     Mdp client ENDPOINT SERVICE COUNT    asks so many times, one after the other; first whether the service is there
//     Mdp burst ENDPOINT SERVICE COUNT     asks so many times before it reads the first answer

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.zeromq.ZContext;
import org.zeromq.ZMQ;
import org.zeromq.ZMsg;

final class Mdp {
    /** Milliseconds between heartbeats. */
    private static final int INTERVAL = 2500;

    /** Intervals without a message after which the broker counts as gone. */
    private static final int LIVENESS = 3;

    private static final ZContext CONTEXT = new ZContext();

    private static ZMQ.Socket connected(int type, String endpoint, int timeout) {
        ZMQ.Socket socket = CONTEXT.createSocket(type);
        socket.setLinger(0);
        socket.setReceiveTimeOut(timeout);
        socket.connect(endpoint);
        return socket;
    }

    private static void send(ZMQ.Socket socket, String... frames) {
        ZMsg message = new ZMsg();
        Arrays.stream(frames).forEach(message::addString);
        message.send(socket);
    }

    /** The frames of the next message as text, or null if none comes in time. */
    private static List<String> receive(ZMQ.Socket socket) {
        byte[] frame = socket.recv();
        if (frame == null) {
            return null;
        }
        List<String> frames = new ArrayList<>(List.of(new String(frame)));
        while (socket.hasReceiveMore()) {
            frames.add(new String(socket.recv()));
        }
        return frames;
    }

    private static void expect(boolean isSo, String what) {
        if (!isSo) {
            throw new IllegalStateException(what);
        }
    }

    /** Serves until the broker sends DISCONNECT or counts as gone. */
    private static void serve(String endpoint, String service) {
        ZMQ.Socket socket = connected(ZMQ.DEALER, endpoint, INTERVAL);
        send(socket, "", "MDPW01", "\001", service);
        long nextHeartbeat = System.currentTimeMillis() + INTERVAL;
        for (int alive = LIVENESS; alive > 0;) {
            List<String> message = receive(socket);
            alive = message == null ? alive - 1 : LIVENESS;
            if (message != null) {
                expect(message.subList(0, 2).equals(List.of("", "MDPW01")), "a message of another protocol");
                if (message.get(2).equals("\005")) {
                    break;
                }
                if (message.get(2).equals("\002")) {
                    message.subList(5, message.size()).replaceAll(String::toUpperCase);
                    message.set(2, "\003");
                    send(socket, message.toArray(new String[0]));
                }
            }
            if (System.currentTimeMillis() > nextHeartbeat) {
                send(socket, "", "MDPW01", "\004");
                nextHeartbeat = System.currentTimeMillis() + INTERVAL;
            }
        }
        CONTEXT.destroySocket(socket);
    }

    private static void ask(String endpoint, String service, String body, String answer) {
        for (int attempt = 0; attempt < 3; attempt++) {
            ZMQ.Socket socket = connected(ZMQ.REQ, endpoint, INTERVAL);
            send(socket, "MDPC01", service, body);
            List<String> reply = receive(socket);
            CONTEXT.destroySocket(socket);
            if (reply != null) {
                expect(reply.equals(List.of("MDPC01", service, answer)), "another reply than " + answer + ": " + reply);
                return;
            }
        }
        throw new IllegalStateException("no answer after three attempts");
    }

    private static void burst(String endpoint, String service, int count) {
        ZMQ.Socket socket = connected(ZMQ.DEALER, endpoint, 60_000);
        Set<String> open = new HashSet<>();
        for (int number = 0; number < count; number++) {
            send(socket, "", "MDPC01", service, String.valueOf(number));
            open.add(String.valueOf(number));
        }
        while (!open.isEmpty()) {
            List<String> reply = receive(socket);
            expect(reply != null, open.size() + " requests without an answer");
            expect(reply.subList(0, 3).equals(List.of("", "MDPC01", service)), "a reply of another form: " + reply);
            expect(open.remove(reply.get(3)), "a second answer, or one to no request: " + reply);
        }
        CONTEXT.destroySocket(socket);
    }

    public static void main(String[] words) {
        String role = words[0], endpoint = words[1], service = words[2];
        int count = words.length > 3 ? Integer.parseInt(words[3]) : 0;
        while (role.equals("worker")) {
            serve(endpoint, service);
        }
        if (role.equals("burst")) {
            burst(endpoint, service, count);
        } else {
            ask(endpoint, "mmi.service", service, "200");
            for (int number = 0; number < count; number++) {
                ask(endpoint, service, "request", "REQUEST");
            }
        }
        System.out.println(count + " answers");
        CONTEXT.close();
    }
}
