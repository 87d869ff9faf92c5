  ;; Requests random bytes in one call: the first four bytes of the request are their number, and the first byte of the
  ;; second frame is 0 for secure ones, 1 for insecure ones. Answers with the number.
  (import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
  (import "wasi:random/insecure@0.2.0" "get-insecure-random-bytes" (func $insecure (param i64 i32)))
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (local $bytes i64)
    (local.set $bytes (i64.load32_u (i32.load (local.get 2))))
    (if (i32.load8_u (i32.load (i32.add (local.get 2) (i32.const 8))))
      (then (call $insecure (local.get $bytes) (i32.const 1024)))
      (else (call $random (local.get $bytes) (i32.const 1024))))
    (i32.store (i32.const 1032) (i32.const 1028))
    (i32.store (i32.const 1036) (i32.const 4))
    (call $reply (i32.const 1032) (i32.const 1)))
