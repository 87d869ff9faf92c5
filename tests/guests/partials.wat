  ;; Sends the frames of the request as partial replies, as many as its first byte, and then as the answer.
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (local $times i32)
    (local.set $times (i32.load8_u (i32.load (local.get 2))))
    (block $enough
      (loop $more
        (br_if $enough (i32.eqz (local.get $times)))
        (local.set $times (i32.sub (local.get $times) (i32.const 1)))
        (call $partial (local.get 2) (local.get 3))
        (br $more)))
    (call $reply (local.get 2) (local.get 3)))
