import time, pytest
import consumer_jobs as jobs
from consumer_kit import lines
from conveyor.order import Order
@pytest.mark.parametrize("n", range(4))
def test_x(n, queue, consume, path, eventually):
    c=consume()
    order = Order.place(jobs.half_done, dict(path=str(path), count=5), queue=queue.name, store=queue.client)
    eventually(lambda: lines(path))
    t=time.monotonic()
    assert order.cancel() == 5
    while order.jobs[0].status()!="cancelled": time.sleep(.01)
    t1=time.monotonic()-t
    import faulthandler; F=open("/tmp/t1/tb","w"); faulthandler.dump_traceback_later(2,file=F)
    order.wait()
    faulthandler.cancel_dump_traceback_later()
    with open("/tmp/t1/o","a") as f: f.write(f"{t1:.3f} {time.monotonic()-t:.3f}\n")
