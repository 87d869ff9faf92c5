  ;; Logs a hundred thousand lines, and then answers with the frames of the request.
  (data (i32.const 1024) "a line of the flood")
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (local $lines i32)
    (local.set $lines (i32.const 100000))
    (loop $more
      (call $log (i32.const 2) (i32.const 1024) (i32.const 19))
      (br_if $more (local.tee $lines (i32.sub (local.get $lines) (i32.const 1)))))
    (call $reply (local.get 2) (local.get 3)))
