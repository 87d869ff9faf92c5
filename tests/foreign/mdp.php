<?php
// Majordomo 0.1 (ZeroMQ RFC 7) on PHP's zmq extension, with the timing of the guide's programs.
//
//     mdp.php worker ENDPOINT SERVICE          answers each request with its frames in capitals
//     mdp.php client ENDPOINT SERVICE COUNT    asks so many times, one after the other; first whether the service is there
//     mdp.php burst ENDPOINT SERVICE COUNT     asks so many times before it reads the first answer

const INTERVAL = 2500; // milliseconds, between heartbeats
const LIVENESS = 3; // intervals without a message after which the broker counts as gone

function connected(int $type, string $endpoint): ZMQSocket
{
    static $context = new ZMQContext();
    $socket = new ZMQSocket($context, $type);
    $socket->setSockOpt(ZMQ::SOCKOPT_LINGER, 0);
    return $socket->connect($endpoint);
}

function has_message(ZMQSocket $socket, int $milliseconds): bool
{
    $poll = new ZMQPoll();
    $poll->add($socket, ZMQ::POLL_IN);
    $readable = $writable = [];
    return $poll->poll($readable, $writable, $milliseconds) > 0;
}

function expect(bool $is_so, string $what): void
{
    if (!$is_so) {
        fwrite(STDERR, "$what\n");
        exit(1);
    }
}

// Serves until the broker sends DISCONNECT or counts as gone.
function serve(string $endpoint, string $service): void
{
    $socket = connected(ZMQ::SOCKET_DEALER, $endpoint);
    $socket->sendmulti(['', 'MDPW01', "\x01", $service]);
    $next_heartbeat = microtime(true) + INTERVAL / 1000;
    for ($alive = LIVENESS; $alive > 0;) {
        if (has_message($socket, INTERVAL)) {
            $alive = LIVENESS;
            $frames = $socket->recvMulti();
            expect(array_slice($frames, 0, 2) === ['', 'MDPW01'], 'a message of another protocol');
            if ($frames[2] === "\x05") {
                return;
            }
            if ($frames[2] === "\x02") {
                $body = array_map(strtoupper(...), array_slice($frames, 5));
                $socket->sendmulti(['', 'MDPW01', "\x03", $frames[3], '', ...$body]);
            }
        } else {
            $alive--;
        }
        if (microtime(true) > $next_heartbeat) {
            $socket->sendmulti(['', 'MDPW01', "\x04"]);
            $next_heartbeat = microtime(true) + INTERVAL / 1000;
        }
    }
}

function ask(string $endpoint, string $service, string $body, string $answer): void
{
    for ($attempt = 0; $attempt < 3; $attempt++) {
        $socket = connected(ZMQ::SOCKET_REQ, $endpoint);
        $socket->sendmulti(['MDPC01', $service, $body]);
        if (has_message($socket, INTERVAL)) {
            expect($socket->recvMulti() === ['MDPC01', $service, $answer], "another reply than $answer");
            return;
        }
    }
    expect(false, 'no answer after three attempts');
}

function burst(string $endpoint, string $service, int $count): void
{
    $socket = connected(ZMQ::SOCKET_DEALER, $endpoint);
    for ($number = 0; $number < $count; $number++) {
        $socket->sendmulti(['', 'MDPC01', $service, "$number"]);
    }
    $answered = [];
    while (count($answered) < $count) {
        expect(has_message($socket, 60000), $count - count($answered) . ' requests without an answer');
        $reply = $socket->recvMulti();
        expect(array_slice($reply, 0, 3) === ['', 'MDPC01', $service], 'a reply of another form');
        expect(!isset($answered[$reply[3]]), 'a second answer');
        $answered[$reply[3]] = true;
    }
    expect(max(array_keys($answered)) === $count - 1, 'an answer to no request');
}

[, $role, $endpoint, $service] = $argv;
$count = (int) ($argv[4] ?? 0);
while ($role === 'worker') {
    serve($endpoint, $service);
}
if ($role === 'burst') {
    burst($endpoint, $service, $count);
} else {
    ask($endpoint, 'mmi.service', $service, '200');
    for ($number = 0; $number < $count; $number++) {
        ask($endpoint, $service, 'request', 'REQUEST');
    }
}
echo "$count answers\n";
