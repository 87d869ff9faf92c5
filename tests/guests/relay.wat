  ;; Calls the service that the first frame names with the frames that follow, and answers with its reply. Without a
  ;; reply, it fails with the reason that the node or the called service gives.
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (call $call
      (i32.load (local.get 2)) (i32.load offset=4 (local.get 2))
      (i32.add (local.get 2) (i32.const 8)) (i32.sub (local.get 3) (i32.const 1))
      (i32.const 1024))
    (if (result i32) (i32.eqz (i32.load8_u (i32.const 1024)))
      (then (call $reply (i32.load (i32.const 1028)) (i32.load (i32.const 1032))))
      (else (call $fail (i32.const 1) (i32.load (i32.const 1036)) (i32.load (i32.const 1040))))))
