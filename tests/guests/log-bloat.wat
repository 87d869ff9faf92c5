  ;; Logs ten lines of 4 MiB each, and then answers with the frames of the request.
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (local $lines i32)
    (drop (memory.grow (i32.const 64)))
    (memory.fill (i32.const 131072) (i32.const 0x7a) (i32.const 4194304))
    (local.set $lines (i32.const 10))
    (loop $more
      (call $log (i32.const 2) (i32.const 131072) (i32.const 4194304))
      (br_if $more (local.tee $lines (i32.sub (local.get $lines) (i32.const 1)))))
    (call $reply (local.get 2) (local.get 3)))
