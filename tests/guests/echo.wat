  ;; Answers with the frames of the request.
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (call $reply (local.get 2) (local.get 3)))
