  ;; Common part of all guests: the host's functions, and an allocator whose memory is released after each request.
  (import "wasmnode:service/log@0.1.0" "write" (func $log (param $level i32) (param $text i32) (param $length i32)))
  (import "wasmnode:service/partial@0.1.0" "send" (func $partial (param $frames i32) (param $count i32)))
  (import "wasmnode:service/calls@0.1.0" "call"
    (func $call (param $name i32) (param $length i32) (param $frames i32) (param $count i32) (param $result i32)))

  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 65536))

  (func $allocate (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (loop $grow
        (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $grow (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
      unreachable)
    (local.get $at))

  (func (export "cabi_post_wasmnode:service/handler@0.1.0#handle") (param i32)
    (global.set $next (i32.const 65536)))

  ;; The layout of `request`, flat, and of the result, at address 0.
  (type $handle (func (param $service i32) (param $service-length i32) (param $frames i32) (param $count i32)
    (param $request-id i64) (param $remaining-us i64) (param $caller i32) (param $caller-length i32)
    (param $traced i32) (param $trace i32) (param $trace-length i32)
    (param $keyed i32) (param $key i32) (param $key-length i32) (result i32)))

  (func $reply (param $frames i32) (param $count i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.store (i32.const 4) (local.get $frames))
    (i32.store (i32.const 8) (local.get $count))
    (i32.const 0))

  ;; `failure`: 0 = rejected, 1 = failed.
  (func $fail (param $which i32) (param $text i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 1))
    (i32.store8 (i32.const 4) (local.get $which))
    (i32.store (i32.const 8) (local.get $text))
    (i32.store (i32.const 12) (local.get $length))
    (i32.const 0))
